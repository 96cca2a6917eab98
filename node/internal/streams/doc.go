// Package streams serves the node's own API, the one that `kubectl logs, exec, attach, cp` and
// `port-forward` reach through the API server: logs straight from the files, the rest by handing the
// connection on to the container runtime.
//
// It also rotates those files when they have grown large.
//
// Whoever calls needs a client certificate of the cluster or a token that the API server vouches for
// (TokenReview), and the API server says what he may (SubjectAccessReview): nodes/proxy with verb
// create for anything that acts in a container, whatever the HTTP method.
//
// The runtime's streaming server has neither TLS nor names, but addresses that work once and for a
// minute only. Here TLS ends, and the upgraded connection (SPDY) is copied through; forwarded ports
// end here, too. WebSockets are the API server's to translate.
package streams
