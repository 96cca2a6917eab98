package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// A request that failed is made again after these times.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// atMost is how long nobody looks at the clock: timers stand still while a laptop sleeps.
const atMost = time.Hour

// held is one of a node's certificates.
type held struct {
	file     string
	signer   string
	usages   []certificatesv1.KeyUsage
	use      x509.ExtKeyUsage
	node     string
	clock    clock.Clock
	identity *Identity
	changed  func() // called when there is another one; may be nil

	mu   sync.Mutex
	pair *tls.Certificate // with Leaf; nil: none
	due  time.Time        // when pair is to be replaced
	// addrs are what it is to be for; only of a serving certificate, and nil until they are known.
	addrs []netip.Addr
	news  chan struct{} // closed when pair or addrs change
}

// subject is what the node authorizer knows a node by.
func (h *held) subject() pkix.Name {
	return pkix.Name{CommonName: "system:node:" + h.node, Organization: []string{"system:nodes"}}
}

// load reads the file. What in it cannot be used is as if it were not there. Without roots any authority
// will do.
func (h *held) load(roots *x509.CertPool) error {
	data, err := os.ReadFile(h.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read a certificate of the node: %w", err)
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil //nolint:nilerr // damaged: another one is asked for
	}
	if roots == nil {
		roots = x509.NewCertPool()
		roots.AddCert(pair.Leaf)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{h.use}, CurrentTime: h.clock.Now()})
	if err != nil || pair.Leaf.Subject.String() != h.subject().String() {
		return nil //nolint:nilerr // expired, or of another cluster or node: the same
	}
	h.set(&pair)
	return nil
}

// store writes the file whole.
func (h *held) store(data []byte) error {
	if err := replace(h.file, data); err != nil {
		return fmt.Errorf("store a certificate of the node: %w", err)
	}
	return nil
}

// replace writes a file so that a reader, and who comes after a crash, sees all of it or nothing.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// set makes a pair the present one.
func (h *held) set(pair *tls.Certificate) {
	h.mu.Lock()
	had := h.pair != nil
	life := pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	// Not all nodes of a cluster at the same time.
	h.due = pair.Leaf.NotBefore.Add(time.Duration(float64(life) * (0.7 + 0.1*rand.Float64())))
	h.pair = pair
	h.tell()
	h.mu.Unlock()
	if had && h.changed != nil {
		h.changed()
	}
}

// want sets the addresses.
func (h *held) want(addrs []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.addrs == nil || !slices.Equal(h.addrs, addrs) {
		h.addrs = append([]netip.Addr{}, addrs...)
		h.tell()
	}
}

// tell wakes whoever waits for news; h.mu is held.
func (h *held) tell() {
	close(h.news)
	h.news = make(chan struct{})
}

func (h *held) watch() (*tls.Certificate, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pair, h.news
}

func (h *held) current() *tls.Certificate {
	pair, _ := h.watch()
	return pair
}

// valid tells whether there is one that has not expired.
func (h *held) valid() bool {
	pair := h.current()
	return pair != nil && h.clock.Now().Before(pair.Leaf.NotAfter)
}

// next tells how long the present certificate is good; 0: another one is wanted now.
func (h *held) next() (time.Duration, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.use == x509.ExtKeyUsageServerAuth && h.addrs == nil:
		return atMost, h.news // not known for what
	case h.pair == nil, h.use == x509.ExtKeyUsageServerAuth && !h.covers():
		return 0, h.news
	}
	return min(max(0, h.due.Sub(h.clock.Now())), atMost), h.news
}

// covers tells whether the certificate is for exactly the wanted addresses; h.mu is held.
func (h *held) covers() bool {
	var have []netip.Addr
	for _, ip := range h.pair.Leaf.IPAddresses {
		a, _ := netip.AddrFromSlice(ip)
		have = append(have, a.Unmap())
	}
	slices.SortFunc(have, netip.Addr.Compare)
	return slices.Equal(have, h.addrs) && slices.Equal(h.pair.Leaf.DNSNames, []string{h.node})
}

// run replaces the certificate whenever that is due.
func (h *held) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		wait, news := h.next()
		if wait == 0 {
			err := h.request(ctx)
			if err == nil {
				retry = firstRetry
				continue
			}
			if ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).Error(err, "Certificate not renewed, trying again", "signer", h.signer, "in", retry)
			wait = retry
			retry = min(2*retry, lastRetry)
		}
		timer := h.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-news:
		case <-timer.C():
		}
		timer.Stop()
	}
}

func ipsOf(addrs []netip.Addr) []net.IP {
	var out []net.IP
	for _, a := range addrs {
		out = append(out, a.AsSlice())
	}
	return out
}
