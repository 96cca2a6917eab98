// Package openapi gives the API server what it needs to describe its own types, without building
// any of it while the server starts: the OpenAPI documents (v2 and v3), the types of server-side
// apply, and an installer of API groups that takes the latter.
//
// Everything is generated ahead by hack/openapi (make update) from the server's own routes and
// embedded compressed; nothing is unpacked before somebody asks for it.
package openapi

//go:generate ../../hack/openapi/run.sh
