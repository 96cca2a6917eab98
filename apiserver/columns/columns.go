// Package columns holds the tables that `kubectl get` prints for every kind but Service,
// ServiceCIDR and IPAddress: header by header and cell by cell what upstream prints, because
// people and scripts read them.
//
// Each exported function is named after its kind and returns the value of resource.Columns.
// Columns that only `-o wide` shows have priority 1. Rows are computed from the object alone, so
// that a watch, a list and a single get print the same line. Package apiserver alone imports it.
package columns

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/duetk8s/duet/apiserver/resource"
)

// What a cell shows when there is nothing to show.
const (
	none    = "<none>"
	unknown = "<unknown>"
	unset   = "<unset>"
)

// Default is the table of a kind without columns of its own: NAME and CREATED AT.
func Default() *resource.Columns {
	return &resource.Columns{
		Definitions: defs(text("Created At")),
		Row: func(obj runtime.Object) []any {
			m, err := meta.Accessor(obj)
			if err != nil {
				return []any{unknown, unknown}
			}
			return []any{m.GetName(), createdAt(m.GetCreationTimestamp())}
		},
	}
}

// table joins definitions (NAME comes first by itself) with a typed row.
func table[T runtime.Object](definitions []metav1.TableColumnDefinition, row func(T) []any) *resource.Columns {
	return &resource.Columns{
		Definitions: definitions,
		Row:         func(obj runtime.Object) []any { return row(obj.(T)) },
	}
}

func defs(columns ...metav1.TableColumnDefinition) []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{nameColumn()}, columns...)
}

func nameColumn() metav1.TableColumnDefinition {
	c := text("Name")
	c.Format = "name"
	c.Description = metav1.ObjectMeta{}.SwaggerDoc()["name"]
	return c
}

func text(name string) metav1.TableColumnDefinition { return column(name, "string") }

func number(name string) metav1.TableColumnDefinition { return column(name, "integer") }

func boolean(name string) metav1.TableColumnDefinition { return column(name, "boolean") }

func column(name, kind string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: kind}
}

// ageColumn is the column most tables end with.
func ageColumn() metav1.TableColumnDefinition {
	c := text("Age")
	c.Description = metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]
	return c
}

// wide is a text column that only `-o wide` shows.
func wide(name string) metav1.TableColumnDefinition {
	c := text(name)
	c.Priority = 1
	return c
}

// age is the time since the object was created, "5m12s".
func age(m *metav1.ObjectMeta) string { return since(m.CreationTimestamp.Time) }

func since(t time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(time.Since(t))
}

func createdAt(t metav1.Time) string { return t.UTC().Format(time.RFC3339) }

// or returns s, or what to print in its place if it is empty.
func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// orDeref is or for an optional string, whatever its named type.
func orDeref[S ~string](s *S, otherwise string) string {
	if s == nil {
		return otherwise
	}
	return string(*s)
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// shown is how many items a cell lists before it says " + N more...".
const shown = 3

// firstFew joins the first n items, "a,b,c + 2 more...".
func firstFew(items []string, n int, separator string) string {
	if len(items) <= n {
		return strings.Join(items, separator)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:n], separator), len(items)-n)
}

// containers returns the CONTAINERS and IMAGES cells of a Pod template.
func containers(spec *corev1.PodSpec) (names, images string) {
	var n, i []string
	for _, c := range spec.Containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// accessModes is the short form of volume access modes, each once and in a fixed order, "RWO,RWX".
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{
		{corev1.ReadWriteOnce, "RWO"},
		{corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"},
		{corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.text)
		}
	}
	return strings.Join(short, ",")
}
