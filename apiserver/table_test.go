package apiserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/duetk8s/duet/apiserver/access"
	"github.com/duetk8s/duet/apiserver/kinds"
	"github.com/duetk8s/duet/apiserver/resource"
	"github.com/duetk8s/duet/test/golden"
)

// TestTable runs every function of every row over an empty object: a type that does not fit its
// row, a panic on what validation would refuse, or a row without its columns shows here.
func TestTable(t *testing.T) {
	seen := sets.New[string]()
	for _, r := range completed() {
		t.Run(r.Plural+"."+r.Group, func(t *testing.T) {
			if id := r.Group + "/" + r.Plural; seen.Has(id) {
				t.Errorf("%s twice", id)
			} else {
				seen.Insert(id)
			}
			obj := r.New()
			gvks, _, err := clientscheme.Scheme.ObjectKinds(obj)
			if err != nil || gvks[0].Kind != r.Kind {
				t.Fatalf("New returns %v, %v", gvks, err)
			}
			if _, err := meta.Accessor(obj); err != nil {
				t.Fatal(err)
			}
			list, _, err := clientscheme.Scheme.ObjectKinds(r.NewList())
			if err != nil || list[0].Kind != r.Kind+"List" {
				t.Fatalf("NewList returns %v, %v", list, err)
			}
			exercise(t, &r)
		})
	}
}

func exercise(t *testing.T, r *resource.Resource) {
	t.Helper()
	obj := r.New()
	_ = write(t, r, obj, nil)
	_ = write(t, r, obj.DeepCopyObject(), obj)
	if r.ValidateStatus != nil {
		r.ValidateStatus(t.Context(), obj, obj)
	}
	if r.Fields != nil {
		r.Fields(obj)
	}
	if r.TTL != nil && r.TTL(obj) == 0 {
		t.Error("TTL is 0")
	}
	if r.Columns == nil {
		t.Fatal("no columns")
	}
	if n := len(r.Columns.Row(obj)); n != len(r.Columns.Definitions) {
		t.Errorf("%d cells for %d columns", n, len(r.Columns.Definitions))
	}
	if r.Scale != nil {
		*r.Scale.Replicas(obj) = nil
		r.Scale.Status(obj)
	}
}

// completed is the table with what package access adds to it.
func completed() []resource.Resource {
	rows := table()
	(&access.Guard{}).Complete(rows)
	return rows
}

// write is what the store does with a row, in its order, and renders the answers.
func write(t *testing.T, r *resource.Resource, obj, old runtime.Object) (answers []string) {
	t.Helper()
	ctx := request.WithUser(t.Context(), &user.DefaultInfo{Name: "alice", Groups: []string{"dev"}})
	if r.Default != nil {
		r.Default(obj)
	}
	if r.Prepare != nil {
		r.Prepare(ctx, obj, old)
	}
	var errs field.ErrorList
	if r.Name != nil {
		m, _ := meta.Accessor(obj)
		for _, text := range r.Name(m.GetName(), false) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), m.GetName(), text))
		}
	}
	if r.Validate != nil {
		errs = append(errs, r.Validate(ctx, obj, old)...)
	}
	for _, err := range errs {
		answers = append(answers, err.Error())
	}
	if r.Warnings != nil {
		for _, w := range r.Warnings(ctx, obj, old) {
			answers = append(answers, "Warning: "+w)
		}
	}
	return answers
}

// TestRules writes the objects of testdata/table/KIND.yaml in order and compares the answers with
// KIND.txt. Each object is a case of its own, titled by the annotation "case"; one whose title
// begins with "update" is written over the first object.
func TestRules(t *testing.T) {
	rows := map[schema.GroupKind]*resource.Resource{}
	for _, r := range completed() {
		rows[schema.GroupKind{Group: r.Group, Kind: r.Kind}] = &r
	}
	files, err := filepath.Glob("testdata/table/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var first runtime.Object
			var got strings.Builder
			for _, obj := range documents(t, file) {
				row := rows[obj.GetObjectKind().GroupVersionKind().GroupKind()]
				m, _ := meta.Accessor(obj)
				title := m.GetAnnotations()["case"]
				delete(m.GetAnnotations(), "case")
				var old runtime.Object
				if strings.HasPrefix(title, "update") {
					old = first.DeepCopyObject()
				}
				fmt.Fprintf(&got, "%s:\n", title)
				answers := write(t, row, obj, old)
				if len(answers) == 0 {
					answers = []string{"ok"}
				}
				for _, a := range answers {
					// Differences are printed with spaces of two kinds, at random.
					a, _, _ = strings.Cut(a, "\n")
					fmt.Fprintf(&got, "  %s\n", a)
				}
				if first == nil {
					first = obj
				}
			}
			golden.Check(t, strings.TrimSuffix(file, ".yaml")+".txt", got.String())
		})
	}
}

func documents(t *testing.T, file string) (objects []runtime.Object) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	reader := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(string(text))))
	for buffer := make([]byte, len(text)+1); ; {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, _, err := clientscheme.Codecs.UniversalDeserializer().Decode(buffer[:n], nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, buffer[:n])
		}
		objects = append(objects, obj)
	}
}

// TestSize fills a ConfigMap and a Secret to the last byte, and one more.
func TestSize(t *testing.T) {
	for size, want := range map[int]string{1 << 20: "[]", 1<<20 + 1: "Too long: may not be more than 1048576 bytes"} {
		value := strings.Repeat("x", size)
		config := kinds.ValidateConfigMap(&corev1.ConfigMap{Data: map[string]string{"a": value}}, nil)
		secret := kinds.ValidateSecret(&corev1.Secret{Data: map[string][]byte{"a": []byte(value)}}, nil)
		for _, errs := range []field.ErrorList{config, secret} {
			if got := fmt.Sprint(errs); !strings.Contains(got, want) {
				t.Errorf("%d bytes: %s", size, got)
			}
		}
	}
}

// TestRegardingLabel maps every field name of events.k8s.io/v1 to one that can be selected by.
func TestRegardingLabel(t *testing.T) {
	for label, want := range map[string]string{
		"regarding.name": "involvedObject.name", "reportingController": "reportingComponent", "type": "type",
	} {
		if got := kinds.RegardingLabel(label); got != want {
			t.Errorf("%s: %s", label, got)
		}
		if _, ok := kinds.EventFields(&corev1.Event{})[want]; !ok {
			t.Errorf("no field %s", want)
		}
	}
}

// TestGeneratedNames checks a rule of names for prefixes too, which end in a dash.
func TestGeneratedNames(t *testing.T) {
	for _, r := range completed() {
		if r.Name == nil {
			continue
		}
		if faults := r.Name("web-", true); len(faults) > 0 {
			t.Errorf("%s: %v", r.Plural, faults)
		}
	}
	if len(pathSegment("a/b", false)) == 0 || len(pathSegment("a%", true)) == 0 || len(pathSegment("system:node", false)) != 0 {
		t.Error("names in a path")
	}
}
