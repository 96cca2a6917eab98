package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
)

// imagesPath is where the OCI distribution API is, for every client of it.
const imagesPath = "/v2/"

// mountImages serves the image mirror behind the same authentication and authorization as all else:
// it has no other door. Who may read or write it is in package access, as rules on its paths.
func (s *Server) mountImages(images http.Handler) {
	if images != nil {
		s.Generic.Handler.NonGoRestfulMux.HandlePrefix(imagesPath, images)
	}
}

// longRunning tells which requests no time limit cuts off and no count of requests in flight
// includes. A layer of an image takes as long as it takes.
func longRunning() apirequest.LongRunningRequestCheck {
	api := genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	return func(r *http.Request, info *apirequest.RequestInfo) bool {
		return strings.HasPrefix(r.URL.Path, imagesPath) || api(r, info)
	}
}
