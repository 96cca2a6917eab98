package apiserver

import (
	"fmt"
	"net/http"
)

// definitionsPath is where kubectl lists CustomResourceDefinitions, without looking into discovery
// first, before it creates a kind that has no PATCH (a SubjectAccessReview): if that fails, so does
// kubectl. Until there are any, the list is empty.
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

func noDefinitions(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[]}`)
}
