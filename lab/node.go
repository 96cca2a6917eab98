package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/duetk8s/duet/hostnet"
)

// Nodes are called worker0, worker1 … in the API and in the names of their namespaces.
const nodePrefix = "worker"

// maxNodes is how many addresses the lab's IPv4 range has for nodes, below loadBalancerPool.
const maxNodes = 192 - firstNodeNumber

// firstNodeNumber is the number of worker0 in the lab's ranges.
const firstNodeNumber = numberControl + 1

var nodeLabel = regexp.MustCompile(`^` + nodePrefix + `(0|[1-9][0-9]*)$`)

func nodeName(i int) string { return nodePrefix + strconv.Itoa(i) }

// nodeIndex is the inverse of nodeName; ok is false for the name of something else.
func nodeIndex(name string) (i int, ok bool) {
	m := nodeLabel.FindStringSubmatch(name)
	if m == nil {
		return 0, false
	}
	i, err := strconv.Atoi(m[1])
	return i, err == nil
}

// nodeRoot is where all state of a node is:
//
//	lock          held by the box
//	token         to join with, "id.secret"
//	containerd/   config.toml, certs.d/, containerd.sock, root/ (images), state/
//	cni/          conf.d/, state/ (addresses given to Pods)
//	kubelet/      volumes and hosts files of Pods
//	pki/  logs/   of the agent
func nodeRoot(dir, node string) string { return filepath.Join(dir, "nodes", node) }

// storedNodes returns the nodes that have data, in order.
func storedNodes(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "nodes"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	var nodes []string
	for _, e := range entries {
		if _, ok := nodeIndex(e.Name()); ok {
			nodes = append(nodes, e.Name())
		}
	}
	slices.SortFunc(nodes, func(a, b string) int {
		i, _ := nodeIndex(a)
		j, _ := nodeIndex(b)
		return i - j
	})
	return nodes, err
}

// nodeNames returns the nodes that the settings ask for.
func nodeNames(s Settings) []string {
	var names []string
	for i := range s.Nodes {
		names = append(names, nodeName(i))
	}
	return names
}

// checkNodes makes sure that every node can have an address and a part of each Pod range.
func checkNodes(s Settings) error {
	fit := maxNodes
	for _, p := range s.PodCIDRs {
		part := 64
		if p.Addr().Is4() {
			part = 24
		}
		if spare := part - p.Bits(); spare < 8 {
			fit = min(fit, 1<<max(spare, 0))
		}
	}
	if s.Nodes > fit {
		return &FlagError{"--nodes", strconv.Itoa(s.Nodes), fmt.Sprintf("no more than %d fit the lab's range and %s of --pod-cidr", fit, commas(s.PodCIDRs)), "want fewer nodes, or a larger --pod-cidr"}
	}
	return nil
}

// inOrder returns those of the lab's addresses (one per family) whose family the ranges have, in
// the order of the ranges.
func inOrder(addresses []netip.Addr, ranges []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, r := range ranges {
		for _, a := range addresses {
			if a.Is4() == r.Addr().Is4() {
				out = append(out, a)
			}
		}
	}
	return out
}

// serverURL is where a node reaches the API, in the cluster's first family.
func serverURL(s Settings) string {
	addresses := addrs(numbered(numberControl))
	if first := inOrder(addresses, s.PodCIDRs); len(first) > 0 {
		addresses = first
	}
	return "https://" + net.JoinHostPort(addresses[0].String(), "6443")
}

// clusterDNS is the tenth address of each Service range, in the order of the Pods' families: a
// resolver asks the first, and waits long for one of a family that the Pod has not. Where Pods and
// Services have no family in common, in the order of the ranges.
func clusterDNS(s Settings) []netip.Addr {
	var out []netip.Addr
	for _, r := range s.ServiceCIDRs {
		a := r.Masked().Addr()
		for range 10 {
			a = a.Next()
		}
		if r.Contains(a) {
			out = append(out, a)
		}
	}
	if usable := inOrder(out, s.PodCIDRs); len(usable) > 0 {
		return usable
	}
	return out
}

// agentArgs are the flags of the agent of a node.
func agentArgs(dir string, s Settings, node string) []string {
	root := nodeRoot(dir, node)
	i, _ := nodeIndex(node)
	args := []string{
		"node", option("name", node), option("server", serverURL(s)),
		option("ca-file", filepath.Join(dir, "pki", "ca.crt")), option("token-file", filepath.Join(root, tokenFile)),
		option("root-dir", root), option("cri-socket", filepath.Join(root, containerdSocket)),
		option("node-ip", commas(inOrder(addrs(numbered(firstNodeNumber+i)), s.PodCIDRs))),
		option("cni-conf-dir", filepath.Join(root, cniConfDir)),
		option("cgroup-parent", nodeCgroup(s.Name, node)),
	}
	if dns := clusterDNS(s); len(dns) > 0 {
		args = append(args, option("cluster-dns", commas(dns)))
	}
	return args
}

func option(name string, value any) string { return fmt.Sprintf("--%s=%v", name, value) }

const tokenFile = "token"

// buildNode makes the namespace of a node anew and joins it to the bridge. Nothing may run in it.
func buildNode(s Settings, node string) error {
	net, own := namespaceName(s.Name, memberNet), namespaceName(s.Name, node)
	if err := deleteNamespace(own); err != nil {
		return err
	}
	if err := within(net, func() error { return hostnet.RemoveLink(node) }); err != nil { // goes with its other end, but not at once
		return err
	}
	if err := createNamespace(own); err != nil {
		return err
	}
	i, _ := nodeIndex(node)
	if err := join(net, own, node, numbered(firstNodeNumber+i), s.Uplink); err != nil {
		return fmt.Errorf("join %s to the bridge: %w", own, err)
	}
	return nil
}

// removeNode ends what runs on a node and removes its namespace and cgroups; its data stays.
func removeNode(cluster, node string) error {
	if err := killOccupants(cluster, node); err != nil {
		return err
	}
	if err := deleteNamespace(namespaceName(cluster, node)); err != nil {
		return err
	}
	return removeCgroups(nodeCgroup(cluster, node))
}
