package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/lab"
	"github.com/duetk8s/duet/pki"
)

func (p Program) statusCommand() *cobra.Command {
	var which cluster
	var out output
	c := &cobra.Command{
		Use: "status", Short: "What runs, its addresses, health and sizes", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if err := which.check(); err != nil {
				return err
			}
			s, err := (&lab.Lab{Cluster: clusterAPI{}}).Inspect(c.Context(), which.name, which.dataDir)
			if err != nil {
				return err
			}
			answer := struct {
				lab.Status
				Context string `json:"context"`
				Claims  string `json:"claims,omitempty"`
			}{Status: s, Context: pki.ContextName(s.Name)}
			if s.State == lab.Running {
				answer.Claims = audit(c.Context(), lab.AdminKubeconfig(s.DataDir))
			}
			return out.print(p.Stdout, answer, func() { printStatus(p.Stdout, s, answer.Claims) })
		},
	}
	which.addFlags(c)
	out.addFlag(c)
	return c
}

// audit asks the server whether Services and their addresses and node ports agree, which they always
// should: "ok", what disagrees, or why nobody knows.
func audit(ctx context.Context, kubeconfig string) string {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "unknown: " + err.Error()
	}
	config.Timeout = 3 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "unknown: " + err.Error()
	}
	body, err := client.RESTClient().Get().AbsPath("/duet/audit").DoRaw(ctx)
	if err != nil {
		return "unknown: " + err.Error()
	}
	var findings []struct{ Object, Message string }
	if err := json.Unmarshal(body, &findings); err != nil {
		return "unknown: " + err.Error()
	}
	if len(findings) == 0 {
		return "ok"
	}
	return fmt.Sprintf("%d disagree; the first: %s: %s", len(findings), findings[0].Object, findings[0].Message)
}

func printStatus(w io.Writer, s lab.Status, claims string) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	defer t.Flush()
	row := func(name string, format string, values ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	row("cluster", "%s", s.Name)
	if s.State == lab.Running {
		row("state", "running for %s, pid %d", time.Since(s.Started).Round(time.Second), s.PID)
		row("health", "%s", s.Health)
		row("claims", "%s", claims)
		row("API", "%s, context %s", s.URL, pki.ContextName(s.Name))
	} else {
		row("state", "stopped; `duet up --name %s` resumes it", s.Name)
	}
	for _, member := range slices.Sorted(maps.Keys(s.Addresses)) {
		if slices.ContainsFunc(s.Workers, func(n lab.NodeStatus) bool { return n.Name == member }) {
			continue
		}
		row(member, "%s", dualstack.Join(s.Addresses[member]))
	}
	for _, n := range s.Workers {
		row(n.Name, "%s", nodeLine(n, s.Addresses[n.Name]))
	}
	row("Services", "%s", dualstack.Join(s.ServiceCIDRs))
	row("Pods", "%s", dualstack.Join(s.PodCIDRs))
	row("uplink", "%t", s.Uplink)
	row("data", "%s, %s", s.DataDir, sizeList(s.Sizes))
}

// nodeLine writes "Ready, 172.30.0.3,fd00:172:30::3, Pods 10.244.0.0/24,fd00:10:244::/64, v1.37.2,
// containerd://1.6.20, 12.0 MiB".
func nodeLine(n lab.NodeStatus, addresses []netip.Addr) string {
	parts := []string{n.Health}
	if n.State == lab.Stopped {
		parts = []string{"stopped; `duet up` starts it"}
	} else if n.Health == "" {
		parts = []string{"running"}
	}
	if len(addresses) > 0 {
		parts = append(parts, dualstack.Join(addresses))
	}
	if len(n.PodCIDRs) > 0 {
		parts = append(parts, "Pods "+dualstack.Join(n.PodCIDRs))
	}
	for _, v := range []string{n.Version, n.Runtime} {
		if v != "" {
			parts = append(parts, v)
		}
	}
	return strings.Join(append(parts, mebibytes(n.Size)), ", ")
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// sizeList writes "12.1 MiB (etcd 12.0 MiB, logs 0.1 MiB)".
func sizeList(sizes map[string]int64) string {
	size := func(name string) string { return mebibytes(sizes[name]) }
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		if name != "total" {
			parts = append(parts, name+" "+size(name))
		}
	}
	if len(parts) == 0 {
		return size("total")
	}
	return size("total") + " (" + strings.Join(parts, ", ") + ")"
}
