package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"sigs.k8s.io/yaml"
)

// What the libraries below us answer with 500, or with minutes of work, though it is the client
// that is at fault.

// mostFaults is how many faults of one object are reported. The text of an aggregate takes time
// that grows with their square: 100,000 bad ports would keep a core busy for minutes.
const mostFaults = 100

func someOf(errs field.ErrorList) field.ErrorList { return errs[:min(len(errs), mostFaults)] }

// clientsChange is the change that a client asked for. If it cannot be made of the stored object (a
// field that is not in the schema, a strategic patch without its merge key), the libraries return
// plain errors, which would be 500.
type clientsChange struct{ rest.UpdatedObjectInfo }

func (c clientsChange) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj, err := c.UpdatedObjectInfo.UpdatedObject(ctx, old)
	var status apierrors.APIStatus
	if err != nil && ctx.Err() == nil && !errors.As(err, &status) {
		err = apierrors.NewBadRequest(err.Error())
	}
	return obj, err
}

// refused turns the store's plain error about an object that cannot be new into the client's fault.
func refused(err error) error {
	if errors.Is(err, storage.ErrResourceVersionSetOnCreate) {
		return apierrors.NewBadRequest(err.Error())
	}
	return err
}

// deepestPatch is how many objects and lists a patch may nest. Merging takes time that grows with
// the square of it: half a minute for 10,000.
const deepestPatch = 500

// bounded refuses bodies that would keep a core busy for long, before anything else reads them:
// patches that nest too deeply and quantities with enormous exponents.
func bounded(handler http.Handler, c *genericapiserver.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			if err := checkBody(r, c.MaxRequestBodyBytes); err != nil {
				responsewriters.ErrorNegotiated(err, c.Serializer, schema.GroupVersion{Version: "v1"}, w, r)
				return
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// checkBody reads the body, up to what is refused further on, and puts it back.
func checkBody(r *http.Request, most int64) error {
	if r.Body == nil || r.Header.Get("Upgrade") != "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return apierrors.NewBadRequest("read the body: " + err.Error())
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
	switch text := enormous(body); {
	case r.Method == http.MethodPatch && nesting(body) > deepestPatch:
		return apierrors.NewBadRequest("the patch nests too deeply")
	case text != "":
		return apierrors.NewBadRequest(fmt.Sprintf("quantity %q: the exponent is out of range", text))
	}
	return nil
}

// vast finds what could be a quantity whose exponent has seven digits or more. resource.Quantity
// computes such numbers in full: seconds for 1e9999999, hours for a few digits more.
var vast = regexp.MustCompile(`[0-9.]+[eE][+-]?[0-9]{7,}`)

// enormous returns the first such text that stands where a quantity would: in JSON or YAML as the
// value of one of quantityKeys or inside of it, in protobuf as the only field of a message. Labels
// and names that look like one, as hashes do, are left alone.
func enormous(body []byte) string {
	for _, at := range vast.FindAllIndex(body, -1) {
		text := string(body[at[0]:at[1]])
		if bytes.HasPrefix(body, []byte("k8s\x00")) {
			size := byte(len(text))
			if at[0] >= 3 && body[at[0]-1] == size && body[at[0]-2] == 0x0a && body[at[0]-3] == size+2 {
				return text
			}
			continue
		}
		if !quotedAt(body, at[0]) {
			return text // a bare number: nothing but a quantity can read it
		}
		var tree any
		if yaml.Unmarshal(body, &tree) != nil { // JSON is YAML
			return "" // the decoder says what is wrong
		}
		return quantityIn(tree, false)
	}
	return ""
}

// quotedAt tells whether a place is inside a double-quoted string.
func quotedAt(text []byte, at int) bool {
	quoted := false
	for i := 0; i < at; i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		}
	}
	return quoted
}

// quantityKeys are the fields of the API that are quantities or hold them by name.
var quantityKeys = map[string]bool{
	"limits": true, "requests": true, "capacity": true, "allocatable": true, "hard": true, "used": true, "overhead": true,
	"default": true, "defaultRequest": true, "max": true, "min": true, "maxLimitRequestRatio": true, "sizeLimit": true,
	"divisor": true, "averageValue": true, "target": true, "allocatedResources": true, "maximumVolumeSize": true, "podFixed": true,
}

func quantityIn(tree any, inside bool) string {
	switch v := tree.(type) {
	case map[string]any:
		for key, value := range v {
			if text := quantityIn(value, inside || quantityKeys[key]); text != "" {
				return text
			}
		}
	case []any:
		for _, value := range v {
			if text := quantityIn(value, inside); text != "" {
				return text
			}
		}
	case string:
		if inside && vast.FindString(v) == v {
			return v
		}
	}
	return ""
}

// nesting is how deep the brackets of JSON, or of YAML in its flow style, nest.
func nesting(text []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
