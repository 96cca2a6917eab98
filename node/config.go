package node

import (
	"context"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// Config says what an agent is to be.
type Config struct {
	// Name of the node.
	Name string
	// Server is the URL of the API, CAFile the certificate of its authority.
	Server, CAFile string
	// CAHash is the pki.Pin of that certificate: with it, a CAFile that is not there is fetched from
	// the server, and one that is there must be it. May be empty.
	CAHash string
	// Token to join with, "id.secret"; not needed by a node that has joined.
	Token string
	// RootDir is where all of the agent's state is: kubelet/, pki/, cni/.
	RootDir string
	// CRISocket is the path of the runtime's socket.
	CRISocket string
	// NodeIPs in the order of the families; empty: they are found.
	NodeIPs []netip.Addr
	// ClusterDNS are the addresses of the cluster's name servers, ClusterDomain what it is called.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// CgroupParent of all Pods, such as "/duet/NAME/NODE".
	CgroupParent string
	// CNIBinDirs and CNIConfDir are those that the runtime looks into.
	CNIBinDirs []string
	CNIConfDir string
	// Port of the node's own API; 0 is 10250.
	Port int
	// MaxPods is how many Pods the node takes; 0 is 110.
	MaxPods int
	// Taints and Labels the node registers with.
	Taints []corev1.Taint
	Labels map[string]string
	// Beside makes other components of the node, which run as long as the agent. nil: none.
	Beside func(Surroundings) ([]Component, error)
	// Clock of everything; nil is the real one.
	Clock clock.WithTicker
}

// Surroundings are what the agent shares with components beside it.
type Surroundings struct {
	Informers informers.SharedInformerFactory // not yet started
	Client    clientset.Interface             // with the rights of the node
	Events    record.EventRecorder            // as the kubelet of the node
}

// Component is what runs until its context ends.
type Component interface {
	Run(ctx context.Context) error
}

// kubelet is where Pods lie, as package volumes describes it, and their logs.
func (c *Config) kubelet() string { return filepath.Join(c.RootDir, "kubelet") }

func (c *Config) withDefaults() Config {
	d := *c
	if d.ClusterDomain == "" {
		d.ClusterDomain = "cluster.local"
	}
	if d.Port == 0 {
		d.Port = 10250
	}
	if d.MaxPods == 0 {
		d.MaxPods = 110
	}
	if d.Clock == nil {
		d.Clock = clock.RealClock{}
	}
	return d
}
