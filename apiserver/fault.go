package apiserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
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

// shallow refuses patches that nest deeper, before anything else reads them.
func shallow(handler http.Handler, c *genericapiserver.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && r.Body != nil {
			body, err := io.ReadAll(io.LimitReader(r.Body, c.MaxRequestBodyBytes+1)) // more is refused further on
			if err == nil && nesting(body) > deepestPatch {
				err = apierrors.NewBadRequest("the patch nests too deeply")
			} else if err != nil {
				err = apierrors.NewBadRequest("read the patch: " + err.Error())
			}
			if err != nil {
				responsewriters.ErrorNegotiated(err, c.Serializer, schema.GroupVersion{Version: "v1"}, w, r)
				return
			}
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		}
		handler.ServeHTTP(w, r)
	})
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
