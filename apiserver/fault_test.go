package apiserver

import (
	"strings"
	"testing"

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
