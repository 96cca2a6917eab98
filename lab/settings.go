package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// settingsFile in the data directory marks it as a cluster's and remembers what it was asked for.
const settingsFile = "cluster.json"

// Settings is what a cluster was asked to be, kept in DIR/cluster.json.
type Settings struct {
	Name         string         `json:"name"`
	Nodes        int            `json:"nodes"`
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs"` // the first decides the default family
	PodCIDRs     []netip.Prefix `json:"podCIDRs"`
	Uplink       bool           `json:"uplink"`
	ExternalIPs  bool           `json:"externalIPs"` // Services may have spec.externalIPs
	Kubeconfig   string         `json:"kubeconfig"`  // the file that holds our context
	Port         uint16         `json:"port"`        // on 127.0.0.1; 0 until the first start has picked one
}

// Request is what the user typed. Nil or empty means: as remembered, or the default.
type Request struct {
	Name, DataDir          string
	Nodes                  *int
	ServiceCIDRs, PodCIDRs []netip.Prefix
	Uplink, ExternalIPs    *bool
	Kubeconfig             string
	Port                   *uint16
}

// FlagError says that a flag cannot have the value it was given: wrong usage, and nothing was done.
type FlagError struct {
	Flag  string // "--service-cidr"
	Value string // as typed
	// Problem says why not, Want what to write instead.
	Problem, Want string
}

func (e *FlagError) Error() string {
	return fmt.Sprintf("%s %q: %s; %s", e.Flag, e.Value, e.Problem, e.Want)
}

// merge applies a request to what is remembered. Everything may change between two starts but the
// name, which the namespaces carry, and, once there are nodes, the Pod ranges they were cut from.
// Errors are *FlagError.
func merge(s Settings, r Request) (Settings, error) {
	if r.Name != s.Name {
		return s, &FlagError{"--name", r.Name, fmt.Sprintf("the data directory belongs to cluster %q", s.Name), "use that name, or another --data-dir"}
	}
	if r.PodCIDRs != nil && !slices.Equal(r.PodCIDRs, s.PodCIDRs) {
		if s.Nodes > 0 {
			return s, &FlagError{"--pod-cidr", commas(r.PodCIDRs), "the nodes hold parts of " + commas(s.PodCIDRs), "leave the flag out, or make another cluster with --name"}
		}
		s.PodCIDRs = r.PodCIDRs
	}
	if r.ServiceCIDRs != nil { // legal at any time: behaviour.md B4.8
		s.ServiceCIDRs = r.ServiceCIDRs
	}
	if r.Nodes != nil {
		s.Nodes = *r.Nodes
	}
	if r.Uplink != nil {
		s.Uplink = *r.Uplink
	}
	if r.ExternalIPs != nil {
		s.ExternalIPs = *r.ExternalIPs
	}
	if r.Kubeconfig != "" {
		s.Kubeconfig = r.Kubeconfig
	}
	if r.Port != nil {
		s.Port = *r.Port
	}
	if err := checkNodes(s); err != nil {
		return s, err
	}
	return s, checkRanges(s)
}

// checkRanges makes sure that an address in the cluster belongs to one thing only.
func checkRanges(s Settings) error {
	for _, service := range s.ServiceCIDRs {
		for _, pod := range s.PodCIDRs {
			if service.Overlaps(pod) {
				return &FlagError{"--service-cidr", commas(s.ServiceCIDRs), fmt.Sprintf("%s overlaps %s of --pod-cidr", service, pod), "choose ranges apart, e.g. 10.96.0.0/16 and 10.244.0.0/16"}
			}
		}
	}
	for flag, ranges := range map[string][]netip.Prefix{"--service-cidr": s.ServiceCIDRs, "--pod-cidr": s.PodCIDRs} {
		for _, p := range ranges {
			for _, ours := range labRanges {
				if p.Overlaps(ours) {
					return &FlagError{flag, commas(ranges), fmt.Sprintf("%s overlaps %s, where the lab's own addresses are", p, ours), "choose a range apart, e.g. in 10.0.0.0/8 or fd00:10::/32"}
				}
			}
		}
	}
	return nil
}

// same tells whether a running server with settings a already is what b asks for. Port 0 asks for
// any port; the number of nodes and the file that holds the context are not the server's business.
func same(a, b Settings) bool {
	return a.Uplink == b.Uplink && a.ExternalIPs == b.ExternalIPs && (b.Port == 0 || a.Port == b.Port) &&
		slices.Equal(a.ServiceCIDRs, b.ServiceCIDRs) && slices.Equal(a.PodCIDRs, b.PodCIDRs)
}

// load reads cluster.json; the error is fs.ErrNotExist if dir is not a cluster's.
func load(dir string) (Settings, error) {
	var s Settings
	data, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read %s: %w; the file is damaged: restore it from a copy, or remove the directory yourself", filepath.Join(dir, settingsFile), err)
	}
	return s, nil
}

// save replaces cluster.json in one step: a crash or a full disk leaves the old one.
func save(dir string, s Settings) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", settingsFile, err)
	}
	name := filepath.Join(dir, settingsFile)
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o600); err != nil {
		_ = os.Remove(name + ".new") // a full disk leaves it empty
		return fmt.Errorf("remember the settings: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("remember the settings: %w", err)
	}
	return nil
}

// claim makes sure that dir exists and is either empty or this cluster's, so that nothing but our
// own files can ever be removed by down.
func claim(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, settingsFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return foreign(dir)
}

// foreign returns an error if dir holds anything that a cluster did not put there first.
func foreign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// An up that died at once leaves a lock; the root of a disk has lost+found.
		if n := e.Name(); n != lockFile && n != "lost+found" && n != settingsFile+".new" {
			return fmt.Errorf("data directory %s holds %s but no %s, so it is not a cluster of `duet up`; use another --data-dir", dir, n, settingsFile)
		}
	}
	return nil
}
