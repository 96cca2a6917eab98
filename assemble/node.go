package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coordinationinformers "k8s.io/client-go/informers/coordination/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/cri/pause"
	"github.com/duetk8s/duet/loadbalancer/announce"
	"github.com/duetk8s/duet/node"
	"github.com/duetk8s/duet/proxy"
	"github.com/duetk8s/duet/proxy/health"
)

// NodeConfig says what a node is to be. It comes from flags that have been checked.
type NodeConfig struct {
	// Name of the node in the API.
	Name string
	// Server is the URL of the API, whose certificate the CA in CAFile has signed.
	Server, CAFile string
	// CAHash recognises that CA, where the file is not there yet; see [node.Config].
	CAHash string
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
		Name: cfg.Name, Server: cfg.Server, CAFile: cfg.CAFile, CAHash: cfg.CAHash, Token: cfg.Token,
		RootDir: cfg.RootDir, CRISocket: cfg.CRISocket, NodeIPs: cfg.NodeIPs,
		ClusterDNS: cfg.ClusterDNS, ClusterDomain: cfg.ClusterDomain, CgroupParent: cfg.CgroupParent,
		CNIBinDirs: cfg.CNIBinDirs, CNIConfDir: cfg.CNIConfDir, Port: cfg.Port, MaxPods: cfg.MaxPods,
		Taints: taints, Labels: cfg.Labels,
		Beside: cfg.beside,
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

// beside makes what runs beside the agent.
func (cfg NodeConfig) beside(s node.Surroundings) ([]node.Component, error) {
	core := s.Informers.Core().V1()
	services, nodes := core.Services().Informer(), core.Nodes().Informer()
	slices := s.Informers.Discovery().V1().EndpointSlices().Informer()
	gauge := health.NewGauge()
	kernel, err := proxy.New(proxy.Deps{
		Services: services, EndpointSlices: slices, Nodes: nodes, ServiceCIDRs: s.Informers.Networking().V1().ServiceCIDRs().Informer(),
	}, proxy.Config{Node: cfg.Name, Observer: gauge})
	if err != nil {
		return nil, err
	}
	answers, err := health.New(health.Deps{Services: services, EndpointSlices: slices, Nodes: nodes, Events: s.Events}, health.Config{Node: cfg.Name}, gauge)
	if err != nil {
		return nil, err
	}
	cluster, err := cfg.cluster()
	if err != nil {
		return nil, err
	}
	announcer, err := announce.New(announce.Deps{
		Services: services, EndpointSlices: slices, Nodes: nodes, Lease: ownLease(s.Client, cfg.Name), Events: s.Events,
	}, announce.Config{Node: cfg.Name, Cluster: cluster})
	if err != nil {
		return nil, err
	}
	return []node.Component{kernel, answers, announcer}, nil
}

// ownLease watches the node's own Lease; a node may see no other.
func ownLease(client clientset.Interface, node string) cache.SharedIndexInformer {
	return coordinationinformers.NewFilteredLeaseInformer(client, corev1.NamespaceNodeLease, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, node).String()
	})
}

// cluster tells clusters apart by their certificate authority.
func (cfg NodeConfig) cluster() (id [8]byte, err error) {
	data, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return id, fmt.Errorf("read the CA of the cluster: %w", err)
	}
	if block, _ := pem.Decode(data); block != nil { // whatever is around it
		data = block.Bytes
	}
	sum := sha256.Sum256(data)
	return [8]byte(sum[:8]), nil
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
