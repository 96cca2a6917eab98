package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func ensure(t *testing.T, dir string, config Config) *Bundle {
	t.Helper()
	b, err := Ensure(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at returns a configuration for a moment after start.
func at(after time.Duration, sans ...string) Config {
	return Config{Clock: clocktesting.NewFakeClock(start.Add(after)), SANs: sans}
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files
}

func changed(before, after map[string]string) (names []string) {
	for name, data := range after {
		if before[name] != data {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, "-"+name)
		}
	}
	slices.Sort(names)
	return names
}

func pinOf(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Pin(c)
}

func TestEnsureMakes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "pki")
	b := ensure(t, dir, at(0, "10.96.0.1", "fd00:10:96::1", "api.example", "::ffff:192.0.2.1", "localhost"))

	want := []string{"admin.crt", "admin.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key", "apiserver.crt", "apiserver.key", "ca.crt", "ca.key", "nodes-ca.crt", "nodes-ca.key", "service-account.key"}
	if got := changed(nil, snapshot(t, dir)); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for _, name := range append(want, ".") {
		mode := fs.FileMode(0o600)
		if name == "." {
			mode = 0o700
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v (%v)", name, info.Mode(), err)
		}
	}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CA())
	verify := func(pair Pair, name string, usage x509.ExtKeyUsage) *x509.Certificate {
		block, _ := pem.Decode(pair.Certificate)
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: start}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return c
	}
	crt, key := b.Serving().CurrentCertKeyContent()
	for _, name := range []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"localhost", "127.0.0.1", "::1", "10.96.0.1", "fd00:10:96::1", "api.example", "192.0.2.1",
	} {
		verify(Pair{crt, key}, name, x509.ExtKeyUsageServerAuth)
	}
	pin, err := PinOf(b.CA())
	if chain := b.serving.parsed.Certificate; err != nil || len(chain) != 2 || pinOf(t, chain[1]) != pin || !strings.HasPrefix(pin, "sha256:") {
		t.Errorf("a chain of %d does not end with the authority %s (%v)", len(chain), pin, err)
	}
	admin, err := b.Admin()
	if err != nil {
		t.Fatal(err)
	}
	c := verify(admin, "", x509.ExtKeyUsageClientAuth)
	if got := c.Subject.String(); got != "CN=kubernetes-admin,O=system:masters" {
		t.Errorf("admin is %s", got)
	}
	client, err := b.NodeClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Leaf.Subject.String(); got != "CN=kube-apiserver-kubelet-client" {
		t.Errorf("the client of nodes is %s", got)
	}
	if life := c.NotAfter.Sub(start); life != 365*day {
		t.Errorf("admin lives %v", life)
	}
}

func TestEnsureAgain(t *testing.T) {
	tests := map[string]struct {
		damage func(t *testing.T, dir string)
		again  Config
		want   []string // files that are different afterwards
	}{
		"the next day":          {again: at(day, "a.example"), want: nil},
		"other order and twice": {again: at(day, "a.example", "a.example", "127.0.0.1"), want: nil},
		"a third of life left":  {again: at(245*day, "a.example"), want: []string{"admin.crt", "apiserver-kubelet-client.crt", "apiserver.crt"}},
		"a little more":         {again: at(243*day, "a.example"), want: nil},
		"expired":               {again: at(400*day, "a.example"), want: []string{"admin.crt", "apiserver-kubelet-client.crt", "apiserver.crt"}},
		"another name":          {again: at(day, "b.example"), want: []string{"apiserver.crt"}},
		"a name less":           {again: at(day), want: []string{"apiserver.crt"}},
		"certificate missing":   {damage: remove("admin.crt"), again: at(day, "a.example"), want: []string{"admin.crt"}},
		"key missing":           {damage: remove("apiserver.key"), again: at(day, "a.example"), want: []string{"apiserver.crt", "apiserver.key"}},
		"killed before ca.crt": {
			damage: remove("ca.crt", "admin.crt", "admin.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key", "apiserver.crt", "apiserver.key", "service-account.key"), again: at(day, "a.example"),
			want: []string{
				"admin.crt", "admin.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key",
				"apiserver.crt", "apiserver.key", "ca.crt", "service-account.key",
			},
		},
		"token key missing": {damage: remove("service-account.key"), again: at(day, "a.example"), want: []string{"service-account.key"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ensure(t, dir, at(0, "a.example"))
			before := snapshot(t, dir)
			if test.damage != nil {
				test.damage(t, dir)
			}
			ensure(t, dir, test.again)
			if got := changed(before, snapshot(t, dir)); !slices.Equal(got, test.want) {
				t.Errorf("changed %q, want %q", got, test.want)
			}
		})
	}
}

func remove(names ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestEnsureRefuses(t *testing.T) {
	write := func(name, data string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	foreign := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			other := t.TempDir()
			ensure(t, other, at(0))
			for _, name := range names {
				write(name, snapshot(t, other)[name])(t, dir)
			}
		}
	}
	tests := map[string]struct {
		damage func(*testing.T, string)
		again  Config
		want   string
	}{
		"empty ca.crt":           {write("ca.crt", ""), at(day), "/ca.crt is not one PEM block of a certificate; restore it from a backup, or remove "},
		"zeros in ca.key":        {write("ca.key", strings.Repeat("\x00", 200)), at(day), "/ca.key is not one PEM block of an EC private key; restore"},
		"broken admin.crt":       {write("admin.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), at(day), "/admin.crt is damaged (x509: malformed certificate); remove "},
		"broken apiserver.key":   {write("apiserver.key", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), at(day), "/apiserver.key is damaged ("},
		"broken token key":       {write("service-account.key", "x"), at(day), "/service-account.key is not one PEM block of an EC private key; restore it from a backup, or remove it to have a new one made (service account tokens issued so far become invalid)"},
		"key of another cluster": {foreign("ca.key"), at(day), "/ca.key is not the key of "},
		"ca of another cluster":  {foreign("ca.crt", "ca.key"), at(day), "/apiserver.crt is not signed by "},
		"admin key foreign":      {foreign("admin.key"), at(day), "/admin.key is not the key of "},
		"admin foreign":          {foreign("admin.key", "admin.crt"), at(day), "/admin.crt is not signed by "},
		"ca.key missing":         {remove("ca.key"), at(day), "/ca.key is missing; restore it from a backup, or remove "},
		"nodes-ca.key missing":   {remove("nodes-ca.key"), at(day), "/nodes-ca.key is missing; restore it from a backup, or remove "},
		"ca expired":             {nil, at(3651 * day), "/ca.crt expired on 2036-02-27T12:00:00Z; restore it"},
		"clock behind":           {nil, at(-day), "/ca.crt is valid from 2026-03-01T11:55:00Z; set the clock of this machine, which says 2026-02-28T12:00:00Z"},
		"leaf in place of ca": {func(t *testing.T, dir string) {
			files := snapshot(t, dir)
			write("ca.crt", files["admin.crt"])(t, dir)
			write("ca.key", files["admin.key"])(t, dir)
		}, at(day), "/ca.crt is not the certificate of an authority"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ensure(t, dir, at(0))
			if test.damage != nil {
				test.damage(t, dir)
			}
			before := snapshot(t, dir)
			_, err := Ensure(dir, test.again)
			if err == nil || !strings.Contains(err.Error(), test.want) || !IsCorrupt(err) {
				t.Errorf("error %v\n want %s", err, test.want)
			}
			if got := changed(before, snapshot(t, dir)); got != nil {
				t.Errorf("changed %q", got)
			}
		})
	}

	_, err := Ensure(t.TempDir(), Config{SANs: []string{"not a name"}})
	if want := `pki: "not a name" as a name of the API server: neither an address nor a DNS name`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(file, Config{}); err == nil || IsCorrupt(err) {
		t.Errorf("a file in place of the directory: %v", err)
	}
}

func TestEnsureTightens(t *testing.T) {
	dir := t.TempDir()
	ensure(t, dir, at(0))
	key := filepath.Join(dir, "ca.key")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(key, 0o644)); err != nil {
		t.Fatal(err)
	}
	ensure(t, dir, at(day))
	for path, want := range map[string]fs.FileMode{dir: 0o700, key: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v (%v)", path, info.Mode(), err)
		}
	}
}

// TestRun holds a TLS server through a renewal, which it must show without being restarted.
func TestRun(t *testing.T) {
	clock := clocktesting.NewFakeClock(start)
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	config := Config{Clock: clock, Kubeconfig: &KubeconfigFile{Path: kubeconfig, Cluster: "test", Server: "https://127.0.0.1:6443"}}
	b := ensure(t, filepath.Join(dir, "pki"), config)
	first := adminExpiry(t, kubeconfig)
	addr := serveTLS(t, b)
	if got := handshake(t, b, addr, clock); !got.Equal(start.Add(365 * day)) {
		t.Errorf("the first certificate ends at %v", got)
	}
	listener := make(enqueued, 1)
	b.Serving().AddListener(listener)

	background.Run(t, nil, b.Run)

	eventually.True(t, 10*time.Second, "Run waits", clock.HasWaiters)
	clock.Step(243 * day)
	eventually.True(t, 10*time.Second, "Run waits", clock.HasWaiters)
	if got := adminExpiry(t, kubeconfig); !got.Equal(first) {
		t.Errorf("renewed too early, to %v", got)
	}
	clock.Step(2 * day)
	<-listener
	eventually.True(t, 10*time.Second, "Run waits", clock.HasWaiters)
	renewed := start.Add((245 + 365) * day)
	if got := handshake(t, b, addr, clock); !got.Equal(renewed) {
		t.Errorf("the server shows a certificate until %v, want %v", got, renewed)
	}
	if got := adminExpiry(t, kubeconfig); !got.Equal(renewed) {
		t.Errorf("the kubeconfig is good until %v, want %v", got, renewed)
	}

	// A damaged file stops renewing, not serving; repaired, it is renewed at the next try.
	crt := filepath.Join(dir, "pki", "apiserver.crt")
	if err := os.WriteFile(crt, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.Step(300 * day)
	eventually.True(t, 10*time.Second, "Run waits", clock.HasWaiters)
	if got := handshake(t, b, addr, clock); !got.Equal(renewed) {
		t.Errorf("the server shows a certificate until %v, want %v", got, renewed)
	}
	if err := os.Remove(crt); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Minute)
	<-listener
}

type enqueued chan struct{}

func (e enqueued) Enqueue() { e <- struct{}{} }

func serveTLS(t *testing.T, b *Bundle) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", b.Serving().TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

// handshake returns when the certificate that a client of that moment sees will expire.
func handshake(t *testing.T, b *Bundle, addr string, clock *clocktesting.FakeClock) time.Time {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b.CA())
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc", Time: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].NotAfter
}

func adminExpiry(t *testing.T, kubeconfig string) time.Time {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := onlyBlock(config.AuthInfos["duet-test"].ClientCertificateData, pemCertificate)
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.NotAfter
}
