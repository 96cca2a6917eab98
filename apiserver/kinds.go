package apiserver

import "k8s.io/apimachinery/pkg/runtime"

// Scheme holds the Go types of all kinds, for the program that writes the OpenAPI documents
// (hack/openapi). It is not to be changed.
func (s *Server) Scheme() *runtime.Scheme { return s.backend.scheme.Scheme }
