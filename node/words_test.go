package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestEndOfLog(t *testing.T) {
	line := func(tag, text string) string {
		return "2026-11-22T10:00:00.000000001Z stdout " + tag + " " + text + "\n"
	}
	for _, test := range []struct{ name, log, want string }{
		{"none", "", ""},
		{"lines", line("F", "one") + line("F", "two"), "one\ntwo\n"},
		{"parts", line("P", "on") + line("F", "e"), "one\n"},
		{"cut", line("F", "one") + "2026-11", "one\n"},
		{"many", strings.Repeat(line("F", "x"), 100), strings.Repeat("x\n", lastLines)},
		{"long", line("F", strings.Repeat("y", 5000)), strings.Repeat("y", lastBytes-1) + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(file, []byte(test.log), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := endOfLog(file); got != test.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestTagged(t *testing.T) {
	for image, want := range map[string]string{
		"nginx": "nginx:latest", "nginx:1": "nginx:1", "r:5000/a/b": "r:5000/a/b:latest", "Nginx": "", "": "",
		"a@sha256:" + strings.Repeat("0", 64): "a@sha256:" + strings.Repeat("0", 64),
	} {
		if got, err := tagged(image); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", image, got, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	for _, test := range []struct {
		entry, image string
		want         bool
	}{
		{"https://index.docker.io/v1/", "nginx", true},
		{"docker.io", "nginx", true},
		{"registry.example:5000", "registry.example:5000/team/a:1", true},
		{"registry.example:5000/team", "registry.example:5000/team/a:1", true},
		{"registry.example:5000/te", "registry.example:5000/team/a:1", false},
		{"registry.example", "registry.example:5000/a", false},
		{"https://index.docker.io/v1/", "registry.example/a", false},
	} {
		if got := matches(test.entry, test.image); got != test.want {
			t.Errorf("%s for %s: %v", test.entry, test.image, got)
		}
	}
	secret := &corev1.Secret{Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"r.example":{"auth":"dXNlcjpwYTpzcw=="}}}`)}}
	if got := registries(secret)["r.example"].config(); got.GetUsername() != "user" || got.GetPassword() != "pa:ss" {
		t.Errorf("%v", got)
	}
}
