package assemble

import (
	"context"
	"errors"
	"net/netip"

	"github.com/duetk8s/duet/cri/pause"
)

// NodeConfig says what a node is to be. It comes from flags that have been checked.
type NodeConfig struct {
	// Name of the node in the API.
	Name string
	// Server is the URL of the API, whose certificate the CA in CAFile has signed.
	Server, CAFile string
	// Token to join with, "id.secret". A node that has joined before needs none.
	Token string
	// RootDir is where all state of the node is.
	RootDir string
	// CRISocket is the path of the container runtime's socket.
	CRISocket string
	// NodeIPs of the node, the primary family first. None: the node finds out.
	NodeIPs []netip.Addr
	// ClusterDNS and ClusterDomain are what Pods find in their resolv.conf.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// CgroupParent of all Pods.
	CgroupParent string
	// CNIConfDir and CNIBinDirs are where the runtime looks for networks and plugins.
	CNIConfDir string
	CNIBinDirs []string
	// Port of the node's own API.
	Port int
	// MaxPods that the node takes.
	MaxPods int
	// Labels and Taints that the node registers with.
	Labels map[string]string
	Taints []string // "key=value:NoSchedule"
}

// Node runs the node agent until ctx ends, and returns when all of it has stopped. Pods live on.
func Node(ctx context.Context, cfg NodeConfig) error {
	tune()
	if err := pause.Ensure(ctx, cfg.CRISocket); err != nil {
		return err
	}
	return errors.New("this version of duet has no node agent")
}
