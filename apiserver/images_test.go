package apiserver

import (
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestImages: the mirror is there for nodes to read and for administrators to write, and for nobody
// else; and no layer is cut off by a time limit.
func TestImages(t *testing.T) {
	s, c := startServer(t, newEtcd(t), "10.96.0.0/16")
	s.mountImages(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, r.Method, " ", r.URL)
	}))
	ask := func(verb, user, group string) string {
		r := c.CoreV1().RESTClient().Verb(verb).AbsPath("/v2/library/nginx/manifests/latest").Param("ns", "docker.io")
		if user != "" {
			r.SetHeader("Impersonate-User", user).SetHeader("Impersonate-Group", group)
		}
		body, err := r.DoRaw(t.Context())
		if apierrors.IsForbidden(err) {
			return "forbidden"
		}
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	const path = "/v2/library/nginx/manifests/latest"
	rows := []struct{ name, verb, user, group, want string }{
		{"a node reads", "GET", "system:node:a", "system:nodes", "GET " + path + "?ns=docker.io"},
		{"a node asks", "HEAD", "system:node:a", "system:nodes", ""},
		{"a node does not write", "PUT", "system:node:a", "system:nodes", "forbidden"},
		{"an administrator writes", "PUT", "", "", "PUT " + path + "?ns=docker.io"},
		{"others read nothing", "GET", "jane", "dev", "forbidden"},
		{"nor do strangers", "GET", "system:anonymous", "system:unauthenticated", "forbidden"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := ask(row.verb, row.user, row.group); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x"+path, nil)
	if err != nil || !longRunning()(r, nil) {
		t.Error("a pull has a time limit", err)
	}
}
