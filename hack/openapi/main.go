//go:build openapi

// Command openapi writes apiserver/openapi/documents.zip, or with -verify says which documents in
// it are not what the server's routes and types make of them. Run it by hack/openapi/run.sh, which
// makes the package of definitions that it needs (and the build tag is for).
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/duetk8s/duet/hack/openapi/definitions"
	"github.com/duetk8s/duet/hack/openapi/documents"
)

func main() {
	verify := flag.Bool("verify", false, "compare instead of writing")
	file := flag.String("file", "apiserver/openapi/documents.zip", "the archive")
	version := flag.String("version", "v1.37.2", "info.version of the documents")
	flag.Parse()
	if err := run(*file, *version, *verify); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(file, version string, verify bool) error {
	server, scheme, err := standIn()
	if err != nil {
		return err
	}
	set, err := documents.Build(documents.Config{
		Container:   server.Handler.GoRestfulContainer,
		Scheme:      scheme,
		Definitions: definitions.GetOpenAPIDefinitions,
		Version:     version,
	})
	if err != nil {
		return err
	}
	if verify {
		return set.Verify(file)
	}
	return set.Write(file)
}
