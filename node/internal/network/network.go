package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
)

// ConfigFile is our CNI configuration's name in its directory.
const ConfigFile = "10-duet.conflist"

const (
	defaultBridge = "duet0"
	defaultMTU    = 1500
	// A write that failed is tried again after these times.
	retryFirst, retryLast = 500 * time.Millisecond, time.Minute
	// The table is written anew this often even if nobody seems to have changed it.
	resyncEvery = 15 * time.Minute
)

// Config is what the network needs to know.
type Config struct {
	NodeName string
	// Nodes is an informer of all Nodes, which the caller runs.
	Nodes cache.SharedIndexInformer
	// ConfDir is where the runtime looks for CNI configurations.
	ConfDir string
	// StateDir is for the CNI plugins: which addresses are taken.
	StateDir string
	// Bridge is the name of the Pods' bridge, duet0 if empty.
	Bridge string
	// MTU of the Pods; 0: that of the link that has the node's address.
	MTU int
	// Host is the machine; nil: the real one.
	Host Host
}

// Host is what the network writes to. Every method takes the whole wanted state and is idempotent.
type Host interface {
	Read() (hostnet.State, error)
	Watch(ctx context.Context, changed func()) error
	Forward() error
	TranslateInBridges() error
	SetBridge(hostnet.Bridge) error
	SetRoutes([]hostnet.Route) error
	// SetTable replaces the table in one transaction; WatchTable calls changed when somebody else
	// changes it, until ctx ends.
	SetTable(hostnet.Table) error
	RemoveTable() error
	WatchTable(ctx context.Context, changed func()) error
}

// Network keeps a node's network as wanted.
type Network struct {
	config  Config
	host    Host
	nodes   listen.Listener
	changed chan struct{} // capacity 1: something is to be looked at
	tried   chan struct{} // closed when all was brought to the wanted state once, or that failed

	mu    sync.Mutex
	ports []hostnet.HostPort
	taken bool // somebody else has changed the table

	installed *hostnet.Table // by Run; nil: unknown
}

// New registers with the informer.
func New(c Config) (*Network, error) {
	if c.Bridge == "" {
		c.Bridge = defaultBridge
	}
	n := &Network{config: c, host: c.Host, changed: make(chan struct{}, 1), tried: make(chan struct{})}
	if n.host == nil {
		table, err := nft.Open(hostnet.TableName)
		if err != nil {
			return nil, err
		}
		n.host = machine{table}
	}
	n.nodes.To(c.Nodes, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { n.wake() },
		UpdateFunc: func(old, now any) { n.nodeChanged(old, now) },
		DeleteFunc: func(any) { n.wake() },
	})
	if err := n.nodes.Err(); err != nil {
		return nil, fmt.Errorf("watch Nodes: %w", err)
	}
	return n, nil
}

// SetHostPorts says which ports of the node lead to Pods: all of them. It returns before that is so.
func (n *Network) SetHostPorts(ports []hostnet.HostPort) {
	n.mu.Lock()
	n.ports = slices.Clone(ports)
	n.mu.Unlock()
	n.wake()
}

// Await returns when Run has done what it could for the first time. Before that, Pods on a machine that
// was started anew might get addresses by the configuration that an earlier run left, and have no
// way to others.
func (n *Network) Await(ctx context.Context) {
	select {
	case <-n.tried:
	case <-ctx.Done():
	}
}

// tableTaken has the table written anew.
func (n *Network) tableTaken() {
	n.mu.Lock()
	n.taken = true
	n.mu.Unlock()
	n.wake()
}

// Run keeps the network until ctx ends. What fails is logged and tried again; the error says that
// the machine cannot be watched at all.
func (n *Network) Run(ctx context.Context) error {
	if err := os.MkdirAll(n.config.ConfDir, 0o755); err != nil {
		return fmt.Errorf("make the directory of CNI configurations: %w", err)
	}
	files, err := fsnotify.NewWatcher()
	if err == nil {
		err = files.Add(n.config.ConfDir)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", n.config.ConfDir, err)
	}
	defer files.Close()
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	watch := make(chan error, 2)
	group.Go(func() { watch <- n.host.Watch(ctx, n.wake) })
	group.Go(func() { watch <- n.host.WatchTable(ctx, n.tableTaken) })
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	n.nodes.Synced(ctx)
	retry := time.NewTimer(0)
	defer retry.Stop()
	backoff := retryFirst
	var first sync.Once
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watch:
			return err
		case <-files.Events:
		case err := <-files.Errors: // such as events that were lost
			klog.FromContext(ctx).Error(err, "Watch of the directory of CNI configurations")
		case <-n.changed:
		case <-resync.C:
			n.tableTaken()
		case <-retry.C:
		}
		err := n.sync()
		first.Do(func() { close(n.tried) })
		if err != nil {
			klog.FromContext(ctx).Error(err, "Network not as wanted, trying again", "in", backoff)
			retry.Reset(backoff)
			backoff = min(2*backoff, retryLast)
			continue
		}
		retry.Stop()
		backoff = retryFirst
	}
}

// sync brings everything to the wanted state once.
func (n *Network) sync() error {
	foreign, err := n.foreignConfig()
	if err != nil {
		return err
	}
	if foreign {
		return n.withdraw()
	}
	s, err := n.snapshot()
	if err != nil {
		return err
	}
	w := Plan(s)
	if w.Conflist == nil {
		return nil // no range yet; what an earlier run left may still serve Pods
	}
	// Forwarding before addresses: the kernel drops the router's address on a change.
	if err := n.host.Forward(); err != nil {
		return err
	}
	if err := n.host.SetBridge(w.Bridge); err != nil {
		return err
	}
	errs := []error{n.host.SetRoutes(w.Routes), n.host.TranslateInBridges()}
	n.mu.Lock()
	if n.taken {
		n.installed, n.taken = nil, false
	}
	n.mu.Unlock()
	if n.installed == nil || !reflect.DeepEqual(*n.installed, w.Table) {
		if err := n.host.SetTable(w.Table); err != nil {
			errs = append(errs, err)
		} else {
			n.installed = &w.Table
		}
	}
	// Last, because with it Pods start.
	return errors.Join(append(errs, n.writeConfig(w.Conflist))...)
}

// withdraw leaves the network to somebody else.
func (n *Network) withdraw() error {
	n.installed = nil
	err := os.Remove(filepath.Join(n.config.ConfDir, ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, n.host.SetRoutes(nil), n.host.RemoveTable())
}

func (n *Network) snapshot() (Snapshot, error) {
	s := Snapshot{Node: n.config.NodeName, Bridge: n.config.Bridge, StateDir: n.config.StateDir, MTU: n.config.MTU}
	var own []netip.Addr
	for _, o := range n.config.Nodes.GetStore().List() {
		node := o.(*corev1.Node)
		s.Nodes = append(s.Nodes, node)
		if node.Name == n.config.NodeName {
			ips := internalIPs(node)
			for _, list := range ips.All() {
				own = append(own, *list...)
			}
		}
	}
	n.mu.Lock()
	s.Ports = n.ports
	n.mu.Unlock()
	if s.MTU != 0 {
		return s, nil
	}
	state, err := n.host.Read()
	if err != nil {
		return s, err
	}
	s.MTU = mtu(state, own)
	return s, nil
}

// mtu is the smallest of the links that have the node's addresses.
func mtu(state hostnet.State, own []netip.Addr) int {
	least := 0
	for _, a := range state.Addresses {
		if slices.Contains(own, a.Prefix.Addr()) && (least == 0 || a.MTU < least) {
			least = a.MTU
		}
	}
	if least == 0 {
		return defaultMTU
	}
	return least
}

// foreignConfig tells whether the directory holds a configuration that is not ours.
func (n *Network) foreignConfig() (bool, error) {
	entries, err := os.ReadDir(n.config.ConfDir)
	if err != nil {
		return false, fmt.Errorf("look for CNI configurations: %w", err)
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != ConfigFile && slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name()))
	}), nil
}

// writeConfig replaces the file whole, and only if it changes: the runtime reads it anew every time.
func (n *Network) writeConfig(data []byte) error {
	file := filepath.Join(n.config.ConfDir, ConfigFile)
	if now, err := os.ReadFile(file); err == nil && bytes.Equal(now, data) {
		return nil
	}
	temporary := filepath.Join(n.config.ConfDir, "."+ConfigFile+".new")
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	return nil
}

// nodeChanged keeps heartbeats from being changes of the network.
func (n *Network) nodeChanged(old, now any) {
	a, b := old.(*corev1.Node), now.(*corev1.Node)
	if !slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs) || !slices.Equal(a.Status.Addresses, b.Status.Addresses) {
		n.wake()
	}
}

func (n *Network) wake() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// machine is the real Host.
type machine struct{ table *nft.Table }

func (machine) Read() (hostnet.State, error)                    { return hostnet.Read() }
func (machine) Watch(ctx context.Context, changed func()) error { return hostnet.Watch(ctx, changed) }
func (machine) Forward() error                                  { return hostnet.Forward() }
func (machine) TranslateInBridges() error                       { return hostnet.TranslateInBridges() }
func (machine) SetBridge(b hostnet.Bridge) error                { return b.Set() }
func (machine) SetRoutes(r []hostnet.Route) error               { return hostnet.SetRoutes(r) }
func (m machine) SetTable(t hostnet.Table) error {
	err := m.table.Rebuild(t.Rules())
	if len(t.Ports) > 0 {
		for _, f := range dualstack.Families() {
			err = errors.Join(err, hostnet.ChangeLinkRoutes([]hostnet.LinkRoute{hostnet.StandInOf(f).Route()}, nil))
		}
	}
	return err
}
func (m machine) RemoveTable() error { return m.table.Remove() }
func (m machine) WatchTable(ctx context.Context, changed func()) error {
	return m.table.Watch(ctx, changed)
}
