// Package pods serves the paths below a Pod, a Service and a Node that are not about a stored object
// but about a running one: log, exec, attach, port-forward and proxy, which all end at the agent of a
// node; and binding, by which a Pod gets its node.
//
// It decides nothing about Pods beyond that: package kinds has their rules. Only package apiserver
// imports it.
//
// # Guarantees
//
// The agent of a node is spoken to over TLS only, with a certificate of the cluster's authority for
// the address that was dialled (`kubectl logs --insecure-skip-tls-verify-backend` excepted). A proxy
// request reaches Pods through their node's agent, which knows their addresses itself, and never an
// address of the API server's own machine: loopback, link-local.
package pods

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Config says where Pods and Nodes are read and how a node's agent is reached.
type Config struct {
	// Pod and Node read one object, the Pod in the namespace of ctx. Their errors go to the client.
	Pod  func(ctx context.Context, name string) (*corev1.Pod, error)
	Node func(ctx context.Context, name string) (*corev1.Node, error)
	// Service reads one as the others are read. Slices returns the EndpointSlices of a Service, in memory.
	Service func(ctx context.Context, name string) (*corev1.Service, error)
	Slices  func(namespace, service string) ([]*discoveryv1.EndpointSlice, error)
	// CA signed the certificates that agents serve with.
	CA *x509.CertPool
	// Certificate is shown to agents; nil shows none.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// Authorizer is asked again where the verb of a request says too little: a WebSocket is opened by
	// GET, yet it runs a command.
	Authorizer authorizer.Authorizer
}

// Endpoints are the storages of all paths of this package but binding, by path.
func Endpoints(cfg Config) map[string]rest.Storage {
	n := newNodes(cfg)
	return map[string]rest.Storage{
		"pods/log":         logs{nodes: n},
		"pods/exec":        command{nodes: n, path: "exec"},
		"pods/attach":      command{nodes: n, path: "attach"},
		"pods/portforward": portForward{nodes: n},
		"pods/proxy":       podProxy{nodes: n},
		"nodes/proxy":      nodeProxy{nodes: n},
		"services/proxy":   serviceProxy{nodes: n},
	}
}

// nodes reaches the agents of nodes.
type nodes struct {
	Config
	agents *http.Transport // verified by the cluster's authority
	blind  *http.Transport // not verified, for reading logs when a user insists
	open   *http.Transport // to Pods and other ports of nodes, whose certificates nobody vouches for
}

func newNodes(cfg Config) *nodes {
	n := &nodes{
		Config: cfg,
		agents: transport(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.CA, GetClientCertificate: cfg.Certificate}),
		blind:  transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}), //nolint:gosec // what the user asked for
		open:   transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}), //nolint:gosec // as everywhere: see the field
	}
	n.open.DialContext = n.dial
	n.open.DisableKeepAlives = true // an address is not always the same Pod's, and connections are kept by address
	return n
}

// transport speaks HTTP/1.1 only, since streams are upgraded connections.
func transport(c *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig: c, TLSHandshakeTimeout: 10 * time.Second, DialContext: direct(nil).DialContext,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second,
	}
}

// direct asks control, if not nil, about each address.
func direct(control dialControl) *net.Dialer {
	return &net.Dialer{Timeout: 30 * time.Second, Control: control}
}

// unstored is the part of rest.Storage that paths without an object of their own share.
type unstored struct{}

// Destroy does nothing: connections end with their requests.
func (unstored) Destroy() {}
