package assemble

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"

	"github.com/duetk8s/duet/cri/pause"
	"github.com/duetk8s/duet/node"
	"github.com/duetk8s/duet/proxy"
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
	tune(agentGarbage)
	if err := pause.Ensure(ctx, cfg.CRISocket); err != nil {
		return err
	}
	taints, err := parseTaints(cfg.Taints)
	if err != nil {
		return err
	}
	agent, err := node.New(node.Config{
		Name: cfg.Name, Server: cfg.Server, CAFile: cfg.CAFile, Token: cfg.Token,
		RootDir: cfg.RootDir, CRISocket: cfg.CRISocket, NodeIPs: cfg.NodeIPs,
		ClusterDNS: cfg.ClusterDNS, ClusterDomain: cfg.ClusterDomain, CgroupParent: cfg.CgroupParent,
		CNIBinDirs: cfg.CNIBinDirs, CNIConfDir: cfg.CNIConfDir, Port: cfg.Port, MaxPods: cfg.MaxPods,
		Taints: taints, Labels: cfg.Labels,
		Beside: func(i informers.SharedInformerFactory) (node.Component, error) {
			return proxy.New(proxy.Deps{
				Services: i.Core().V1().Services().Informer(), EndpointSlices: i.Discovery().V1().EndpointSlices().Informer(),
				ServiceCIDRs: i.Networking().V1().ServiceCIDRs().Informer(), Nodes: i.Core().V1().Nodes().Informer(),
			}, proxy.Config{Node: cfg.Name})
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var settled sync.WaitGroup
	settled.Go(func() { settle(ctx, agentGarbage) })
	defer settled.Wait()
	defer cancel()
	return agent.Run(ctx)
}

// parseTaints reads "key=value:Effect"; the command line has checked them.
func parseTaints(list []string) ([]corev1.Taint, error) {
	var out []corev1.Taint
	for _, text := range list {
		name, effect, ok := strings.Cut(text, ":")
		key, value, _ := strings.Cut(name, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("taint %q: want key=value:NoSchedule", text)
		}
		out = append(out, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)})
	}
	return out, nil
}
