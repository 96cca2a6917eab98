package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// State of a cluster.
type State string

const (
	// Running means that its server lives. Whether it is well is Status.Health.
	Running State = "running"
	// Stopped means that there is data, and nobody works on it; up resumes it.
	Stopped State = "stopped"
)

// Status is what can be seen of a cluster from outside. Its JSON is what `duet status --output
// json` prints.
type Status struct {
	Settings
	State   State     `json:"state"`
	DataDir string    `json:"dataDir"`
	URL     string    `json:"url,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started,omitzero"`
	// Health is "ok", or why not.
	Health string `json:"health,omitempty"`
	// Workers are the nodes in order, those that are stopped included.
	Workers []NodeStatus `json:"workers"`
	// Addresses of each member on the lab's network, in the order of the cluster's ranges.
	Addresses map[string][]netip.Addr `json:"addresses,omitempty"`
	// Sizes in bytes on disk of the whole data directory, and of its parts.
	Sizes map[string]int64 `json:"sizes"`
}

// NodeStatus is what can be seen of a node.
type NodeStatus struct {
	NodeInfo
	Name  string `json:"name"`
	State State  `json:"state"` // of its box
	PID   int    `json:"pid,omitempty"`
	Size  int64  `json:"size"` // in bytes on disk
}

// NoClusterError says that there is no such cluster.
type NoClusterError struct{ Name, DataDir string }

func (e *NoClusterError) Error() string {
	return fmt.Sprintf("there is no cluster %q in %s; make it with `duet up --name %s`, or say where it is with --data-dir", e.Name, e.DataDir, e.Name)
}

// Inspect returns the status of a cluster, or a *NoClusterError.
func (l *Lab) Inspect(ctx context.Context, name, dataDir string) (Status, error) {
	if err := needRoot("status"); err != nil {
		return Status{}, err
	}
	dir, err := locate(name, dataDir)
	if err != nil {
		return Status{}, err
	}
	s, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && s.Name != name {
		return Status{}, &NoClusterError{Name: name, DataDir: dir}
	}
	if err != nil {
		return Status{}, err
	}
	out := Status{Settings: s, State: Stopped, DataDir: dir, Sizes: sizes(dir)}
	pid, err := holder(dir)
	if err != nil {
		return Status{}, fmt.Errorf("see who works on %s: %w", dir, err)
	}
	if out.Workers, err = workers(dir, s); err != nil {
		return Status{}, err
	}
	if pid == 0 || !runs(pid, dir) {
		return out, nil
	}
	out.State, out.PID, out.URL = Running, pid, fmt.Sprintf("https://127.0.0.1:%d", s.Port)
	if info, err := os.Stat(filepath.Join(dir, lockFile)); err == nil {
		out.Started = info.ModTime() // the pid was written then
	}
	out.Health = health(ctx, out.URL, filepath.Join(dir, "pki", "ca.crt"))
	if out.Health == "ok" {
		l.ask(ctx, dir, out.Workers)
	}
	out.Addresses = map[string][]netip.Addr{}
	members, err := namespaces(name)
	if err != nil {
		return Status{}, err
	}
	for _, m := range members {
		if m == memberNet {
			continue
		}
		if out.Addresses[m], err = addressesIn(namespaceName(name, m)); err != nil {
			return Status{}, err
		}
	}
	return out, nil
}

// workers returns what can be seen of the nodes without the API.
func workers(dir string, s Settings) ([]NodeStatus, error) {
	out := []NodeStatus{}
	for _, node := range nodeNames(s) {
		pid, err := boxPID(dir, node)
		if err != nil {
			return nil, fmt.Errorf("see whether %s runs: %w", node, err)
		}
		n := NodeStatus{Name: node, State: Stopped, PID: pid, Size: sizes(nodeRoot(dir, node))["total"]}
		if pid != 0 {
			n.State = Running
		}
		out = append(out, n)
	}
	return out, nil
}

// ask adds what the API knows of the nodes.
func (l *Lab) ask(ctx context.Context, dir string, nodes []NodeStatus) {
	if len(nodes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	known, err := l.Cluster.List(ctx, AdminKubeconfig(dir))
	for i := range nodes {
		info, ok := known[nodes[i].Name]
		switch {
		case err != nil:
			info.Health = "unknown: " + err.Error()
		case !ok:
			info.Health = "has not joined"
		}
		nodes[i].NodeInfo = info
	}
}

// askTimeout is how long a status waits for a server that does not answer.
const askTimeout = 3 * time.Second

// health asks the API server, and returns "ok" or why it is not.
func health(ctx context.Context, url, caFile string) string {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err.Error()
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return "ok"
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s: %s", response.Status, failedChecks(string(body)))
}

// failedChecks picks the failing lines, "[-]etcd failed: reason withheld", out of a health report.
func failedChecks(report string) string {
	var failed []string
	for line := range strings.Lines(report) {
		if check, ok := strings.CutPrefix(line, "[-]"); ok {
			failed = append(failed, strings.TrimSpace(check))
		}
	}
	return strings.Join(failed, ", ")
}

// sizes sums up the blocks that the data directory and each folder in it take. Files that vanish
// meanwhile do not count.
func sizes(dir string) map[string]int64 {
	out := map[string]int64{"total": 0}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it has vanished
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			out["total"] += st.Blocks * 512
			if top, _, nested := strings.Cut(strings.TrimPrefix(path, dir+"/"), "/"); nested && path != dir {
				out[top] += st.Blocks * 512
			}
		}
		return nil
	})
	return out
}
