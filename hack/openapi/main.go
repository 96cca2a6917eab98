//go:build openapi

// Command openapi writes apiserver/openapi/documents.zip, or with -verify says which documents in
// it are not what the server's routes and types make of them. Run it by hack/openapi/run.sh, which
// makes the package of definitions that it needs (and the build tag is for).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/apiserver"
	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/etcd"
	"github.com/duetk8s/duet/hack/openapi/definitions"
	"github.com/duetk8s/duet/hack/openapi/documents"
	"github.com/duetk8s/duet/pki"
)

func main() {
	verify := flag.Bool("verify", false, "compare instead of writing")
	file := flag.String("file", "apiserver/openapi/documents.zip", "the archive")
	version := flag.String("version", "v1.37.2", "info.version of the documents")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if err := run(context.Background(), *file, *version, *verify); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file, version string, verify bool) (err error) {
	dir, err := os.MkdirTemp("", "duet-openapi-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	member, err := etcd.Start(ctx, dir+"/etcd")
	if err != nil {
		return err
	}
	defer member.Close()
	server, err := newServer(ctx, member, dir+"/pki")
	if err != nil {
		return err
	}
	set, err := documents.Build(documents.Config{
		Container:   server.Generic.Handler.GoRestfulContainer,
		Scheme:      server.Scheme(),
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

// newServer puts together, but does not run, the server whose routes are described.
func newServer(ctx context.Context, member *etcd.Member, dir string) (*apiserver.Server, error) {
	keys, err := pki.Ensure(dir, pki.Config{})
	if err != nil {
		return nil, err
	}
	ca, err := dynamiccertificates.NewStaticCAContent("ca", keys.CA())
	if err != nil {
		return nil, err
	}
	return apiserver.New(ctx, apiserver.Config{
		Etcd:      member.Client(),
		Families:  []dualstack.Family{dualstack.IPv4, dualstack.IPv6},
		Listeners: []net.Listener{},
		Serving:   keys.Serving(),
		ClientCA:  ca,
		Advertise: "127.0.0.1:6443",
	})
}
