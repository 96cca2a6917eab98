package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestNesting(t *testing.T) {
	rows := []struct {
		text string
		want int
	}{
		{"", 0},
		{"1", 0},
		{"{}", 1},
		{`{"a":[{}],"b":{}}`, 3},
		{`{"a":"[[[["}`, 1},
		{`{"a":"\"[[[["}`, 1},
		{`{"a":"\\","b":[]}`, 2},
		{strings.Repeat("[", 1000), 1000},
		{"]]]][", 0},
		{`"`, 0},
		{`"\`, 0},
	}
	for _, row := range rows {
		if got := nesting([]byte(row.text)); got != row.want {
			t.Errorf("nesting(%.40q) = %d, want %d", row.text, got, row.want)
		}
	}
}

func TestSomeOf(t *testing.T) {
	if got := len(someOf(make(field.ErrorList, 1000))); got != mostFaults {
		t.Errorf("%d faults are reported", got)
	}
	if got := someOf(nil); len(got) != 0 {
		t.Errorf("faults of nothing: %v", got)
	}
}

// A quantity that would be computed for hours is refused; what only looks like one is not.
func TestEnormous(t *testing.T) {
	pod := func(where string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"commit":"12e3456789"}},"spec":{` + where + `}}`
	}
	protobuf := func(resources bool) []byte {
		obj := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"commit": "12e3456789"}}}
		data, err := obj.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if resources { // a map entry "cpu" → Quantity, which no client of ours can make
			data = append(data, "\x0a\x03cpu\x12\x0c\x0a\x0a12e3456789"...)
		}
		return append([]byte("k8s\x00"), data...)
	}
	for _, row := range []struct {
		name string
		body []byte
		want string
	}{
		{"a label", []byte(pod("")), ""},
		{"a limit", []byte(pod(`"containers":[{"resources":{"limits":{"cpu":"1e99999999"}}}]`)), "1e99999999"},
		{"a bare number", []byte(pod(`"containers":[{"resources":{"limits":{"cpu":1e99999999}}}]`)), "1e99999999"},
		{"a word in a text", []byte(pod(`"nodeName":"see 1e99999999, \"quoted\""`)), ""},
		{"a size", []byte(pod(`"volumes":[{"emptyDir":{"sizeLimit":"1.5E+9999999"}}]`)), "1.5E+9999999"},
		{"a size in YAML", []byte("kind: PersistentVolumeClaim\nspec:\n  resources:\n    requests:\n      storage: \"1e9999999\"\n"), "1e9999999"},
		{"an ordinary limit beside the label", []byte(pod(`"containers":[{"resources":{"limits":{"cpu":"1e3"}}}]`)), ""},
		{"a label in protobuf", protobuf(false), ""},
		{"a limit in protobuf", protobuf(true), "12e3456789"},
		{"no JSON at all", []byte(`{"1e99999999`), ""},
	} {
		if got := enormous(row.body); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}
