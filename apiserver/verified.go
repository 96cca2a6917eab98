package apiserver

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// verifiedFor is how long a client certificate that was found good is not verified again, and
// verifiedMost how many are remembered.
const (
	verifiedFor  = time.Minute
	verifiedMost = 1000
)

// verified remembers for a while whose a client certificate is. A connection serves thousands of
// requests, all with one certificate, and verifying its signature takes a tenth of the time that
// creating a Service does. TLS has proven that the client has the key, for the connection.
//
// Only good certificates are remembered, never beyond the end of their validity.
//
// Concurrency: safe for use by several goroutines.
type verified struct {
	authenticator.Request

	mu    sync.Mutex
	known map[[sha256.Size]byte]identified
}

type identified struct {
	response authenticator.Response
	until    time.Time
}

func newVerified(certificates authenticator.Request) *verified {
	return &verified{Request: certificates, known: map[[sha256.Size]byte]identified{}}
}

// AuthenticateRequest answers as the authenticator behind it does.
func (v *verified) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	key, now := sha256.Sum256(req.TLS.PeerCertificates[0].Raw), time.Now()
	v.mu.Lock()
	hit, ok := v.known[key]
	v.mu.Unlock()
	if ok && now.Before(hit.until) {
		return &hit.response, true, nil // a copy: those in front add groups
	}
	response, ok, err := v.Request.AuthenticateRequest(req)
	if err != nil || !ok {
		return response, ok, err
	}
	until := now.Add(verifiedFor)
	for _, c := range req.TLS.PeerCertificates {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= verifiedMost {
		clear(v.known)
	}
	v.known[key] = identified{*response, until}
	return response, ok, nil
}
