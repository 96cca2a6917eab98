package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestVerified(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	certificate := func(raw string, end time.Time) *http.Request {
		return &http.Request{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw), NotAfter: end}}}}
	}
	asked := 0
	v := newVerified(authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		asked++
		name := string(req.TLS.PeerCertificates[0].Raw)
		return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, name != "bad", nil
	}))
	rows := []struct {
		name  string
		req   *http.Request
		user  string // "" for nobody
		asked bool
	}{
		{"without TLS", &http.Request{}, "", false},
		{"without certificate", &http.Request{TLS: &tls.ConnectionState{}}, "", false},
		{"first", certificate("anna", soon), "anna", true},
		{"again, on another connection", certificate("anna", soon), "anna", false},
		{"another", certificate("bert", soon), "bert", true},
		{"refused", certificate("bad", soon), "", true},
		{"refused again", certificate("bad", soon), "", true},
		{"expired", certificate("carl", time.Now().Add(-time.Second)), "carl", true}, // refused by the real one
		{"expired again", certificate("carl", time.Now().Add(-time.Second)), "carl", true},
	}
	for _, row := range rows {
		before := asked
		response, ok, err := v.AuthenticateRequest(row.req)
		if err != nil || ok != (row.user != "") || ok && response.User.GetName() != row.user {
			t.Errorf("%s: got %v, %t, %v", row.name, response, ok, err)
		}
		if (asked > before) != row.asked {
			t.Errorf("%s: asked the authenticator: %t", row.name, asked > before)
		}
		if ok {
			response.User = &user.DefaultInfo{Name: "changed by those in front"}
		}
	}
	for i := range 3 * verifiedMost {
		_, _, _ = v.AuthenticateRequest(certificate(time.Duration(i).String(), soon))
	}
	if len(v.known) > verifiedMost {
		t.Errorf("remembers %d certificates", len(v.known))
	}
}
