package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// userAgent says who asks; servers are told apart probes by its beginning.
const userAgent = "kube-probe/1.37"

// askHTTP passes on any status from 200 to 399.
func askHTTP(ctx context.Context, t Target, action *corev1.HTTPGetAction, timeout time.Duration) answer {
	req, err := t.request(ctx, action)
	if err != nil {
		return answer{unknown, err.Error()}
	}
	client := httpClient(timeout)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return answer{failed, err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxOutput))
	if err != nil {
		return answer{failed, err.Error()}
	}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return answer{outcome: passed}
	case res.StatusCode >= 300 && res.StatusCode < 400: // to another host, where nobody follows
		return answer{passed, fmt.Sprintf("Probe terminated redirects, Response body: %s", body)}
	}
	return answer{failed, fmt.Sprintf("HTTP probe failed with statuscode: %d", res.StatusCode)}
}

// request makes the request that an httpGet action describes.
func (t *Target) request(ctx context.Context, action *corev1.HTTPGetAction) (*http.Request, error) {
	host, port, err := t.address(action.Host, action.Port)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(action.Path)
	if err != nil { // such as a path with a bare percent sign
		u = &url.URL{Path: action.Path}
	}
	u.Scheme = strings.ToLower(string(action.Scheme))
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	u.Host = net.JoinHostPort(host, port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range action.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
	}
	// A header that the Pod gives, though it be empty, is the Pod's.
	for name, value := range map[string]string{"User-Agent": userAgent, "Accept": "*/*"} {
		if _, given := req.Header[name]; !given {
			req.Header.Set(name, value)
		}
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Del("Accept")
	}
	return req, nil
}

// httpClient trusts any certificate, as nobody could give a Pod one for an address that it does not
// know beforehand, and follows redirects to the same host alone.
func httpClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives:  true,
			DisableCompression: true,
			DialContext:        dialer().DialContext,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
}
