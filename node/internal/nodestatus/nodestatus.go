package nodestatus

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

const (
	// sampleEvery is how often the machine and the runtime are looked at when nothing calls for it.
	sampleEvery = 10 * time.Second
	// reportEvery is how often a status is written although it has not changed.
	reportEvery = 5 * time.Minute
	// While the node is not ready it is looked at after these times, so that it becomes ready in the
	// API when the runtime says so, which it does not tell by itself.
	unreadyFirst, unreadyLast = 10 * time.Millisecond, time.Second
	// callTimeout bounds one question to the API or the runtime.
	callTimeout = 10 * time.Second
	// askTimeout bounds a question that Pods wait for.
	askTimeout = 2 * time.Second
)

// Config says what a node is.
type Config struct {
	Name    string
	Client  kubernetes.Interface
	Runtime Runtime
	// Nodes is an informer of Nodes, at least of this one, which the caller runs.
	Nodes cache.SharedIndexInformer
	// Events may be nil.
	Events record.EventRecorder
	// RootDir is on the file system whose free space counts.
	RootDir string
	// NodeIPs is the value of --node-ip, see [Preference.Given].
	NodeIPs []netip.Addr
	// Port of the node's own API.
	Port    uint16
	MaxPods int
	Labels  map[string]string
	Taints  []corev1.Taint
	// Changed, if not nil, is called with the node's addresses whenever others have been written into
	// the Node. It must not block.
	Changed func([]netip.Addr)
	// Moved, if not nil, is called when an address that was the node's is so no longer, before the API
	// is told: connections from there are dead, and nobody says so. It must not block.
	Moved func()
	// Clock is the system's if nil, Read and Watch are hostnet's.
	Clock clock.Clock
	Read  func() (hostnet.State, error)
	Watch func(ctx context.Context, changed func()) error
}

// Status keeps a Node.
type Status struct {
	config  Config
	changed chan struct{} // capacity 1: something is to be looked at

	mu        sync.Mutex
	addresses []netip.Addr
	node      *corev1.Node       // newest that we have seen; nil: not registered
	own       *corev1.NodeStatus // as last worked out, which the API may not have yet

	reported time.Time    // last successful write; only Run touches it
	told     []netip.Addr // by Config.Changed; only Run touches it
}

// New registers with the informer. It does not look at anything yet.
func New(c Config) (*Status, error) {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Read == nil {
		c.Read = hostnet.Read
	}
	if c.Watch == nil {
		c.Watch = hostnet.Watch
	}
	s := &Status{config: c, changed: make(chan struct{}, 1)}
	var listener listen.Listener
	listener.To(c.Nodes, listen.Seen(func(n *corev1.Node, gone bool) {
		switch {
		case n.Name != c.Name:
		case gone:
			s.gone()
		default:
			s.observe(n)
		}
	}))
	if err := listener.Err(); err != nil {
		return nil, fmt.Errorf("watch the Node: %w", err)
	}
	return s, nil
}

// HostIPs returns the node's addresses, at most one of each family, the primary one first; none
// before the first look.
func (s *Status) HostIPs() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.addresses)
}

// Node returns the Node as last seen, nil before it is registered. It is not to be changed.
func (s *Status) Node() *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Now returns the Node as last seen, with the status that it has by the last look at the machine: the
// API may not have that yet, or have it and not have answered. nil before it is registered and looked
// at.
func (s *Status) Now() *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil || s.own == nil {
		return nil
	}
	n := *s.node
	n.Status = *s.own
	return &n
}

// Ask returns what Now does, after the API has been asked for the Node: others may have seen a change
// of it before us. Where the API does not answer it is as last seen.
func (s *Status) Ask(ctx context.Context) *corev1.Node {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if n, err := s.config.Client.CoreV1().Nodes().Get(ctx, s.config.Name, metav1.GetOptions{}); err == nil {
		s.observe(n)
	}
	return s.Now()
}

// Check has everything looked at again at once, for whoever knows that something has changed: the
// runtime came or went, an image was pulled.
func (s *Status) Check() { wake(s.changed) }

// wake puts a mark into a channel of capacity 1, unless it is there already.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run keeps the Node and the Lease until ctx ends. What fails at the API is logged and tried again.
// An error says that a given address cannot be the node's (D2.3), before anything is written, or
// that the machine's network cannot be watched.
func (s *Status) Run(ctx context.Context) error {
	if _, err := s.look(ctx); err != nil {
		return err
	}
	s.event(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	watch := make(chan error, 1)
	network := make(chan struct{}, 1)
	group.Go(func() { watch <- s.config.Watch(ctx, func() { wake(network) }) })
	lease := sync.OnceFunc(func() { group.Go(func() { s.renewLease(ctx) }) })

	timer := s.config.Clock.NewTimer(0)
	defer timer.Stop()
	unready := unreadyFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watch:
			return err
		case <-network: // every Pod changes links and routes; the addresses hardly ever
			if changed, err := s.look(ctx); err == nil && !changed {
				continue
			}
		case <-s.changed:
		case <-timer.C():
		}
		if _, err := s.look(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "Addresses of the node stay as they are")
		}
		next := sampleEvery
		ready, err := s.report(ctx)
		if err == nil {
			lease()
			s.tell()
		} else if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Node not reported, trying again")
		}
		if ready && err == nil {
			unready = unreadyFirst
		} else {
			next = unready
			unready = min(2*unready, unreadyLast)
		}
		timer.Stop()
		timer.Reset(next)
	}
}

// look chooses the addresses anew and tells whether they are others now.
func (s *Status) look(ctx context.Context) (changed bool, err error) {
	state, err := s.config.Read()
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	p := Preference{Given: s.config.NodeIPs, Current: s.addresses}
	if s.node != nil {
		for _, text := range s.node.Spec.PodCIDRs {
			if r, err := netip.ParsePrefix(text); err == nil {
				p.Pods = append(p.Pods, r)
				p.Families = append(p.Families, dualstack.OfPrefix(r))
			}
		}
		if len(p.Current) == 0 {
			p.Current = internalIPs(s.node)
		}
	}
	before := s.addresses
	s.mu.Unlock()
	now, err := Choose(state, p)
	if err != nil || slices.Equal(before, now) {
		return false, err
	}
	klog.FromContext(ctx).Info("Node addresses", "before", before, "now", now)
	s.mu.Lock()
	s.addresses = now
	s.mu.Unlock()
	gone := slices.ContainsFunc(before, func(a netip.Addr) bool { return !slices.Contains(now, a) })
	if gone && s.config.Moved != nil {
		s.config.Moved()
	}
	return true, nil
}

// tell passes addresses on that have become the Node's.
func (s *Status) tell() {
	now := s.HostIPs()
	if s.config.Changed == nil || slices.Equal(s.told, now) {
		return
	}
	s.told = now
	s.config.Changed(slices.Clone(now))
}

func internalIPs(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// report writes what has changed and tells whether the node is ready.
func (s *Status) report(ctx context.Context) (ready bool, err error) {
	facts := machineFacts(s.config.RootDir)
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	facts.ask(call, s.config.Runtime)
	old, err := s.registered(call, facts)
	if err != nil {
		return false, err
	}
	now := s.config.Clock.Now()
	next := status(&old.Status, s.config.Name, s.HostIPs(), facts, s.config, now)
	s.mu.Lock()
	s.own = &next
	s.mu.Unlock()
	for _, c := range next.Conditions {
		ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	if same(old.Status, next) && now.Sub(s.reported) < reportEvery {
		return ready, nil
	}
	written, err := s.patch(call, old, next)
	if err != nil {
		return ready, err
	}
	s.reported = now
	s.observe(written)
	for _, e := range events(s.config.Name, &old.Status, &next) {
		s.event(e.kind, e.reason, e.message)
	}
	return ready, nil
}

// observe takes note of a Node as the API has it, unless a newer one is known.
func (s *Status) observe(n *corev1.Node) {
	s.mu.Lock()
	if s.node != nil && s.node.UID == n.UID {
		if c, err := resourceversion.CompareResourceVersion(n.ResourceVersion, s.node.ResourceVersion); err == nil && c <= 0 {
			s.mu.Unlock()
			return
		}
	}
	changed := s.node == nil || !slices.Equal(s.node.Spec.PodCIDRs, n.Spec.PodCIDRs) || !same(s.node.Status, n.Status)
	s.node = n
	s.mu.Unlock()
	if changed {
		s.Check()
	}
}

func (s *Status) gone() {
	s.mu.Lock()
	s.node = nil
	s.mu.Unlock()
	s.Check()
}

func (s *Status) event(kind, reason, message string) {
	if s.config.Events == nil {
		return
	}
	// As upstream's node agent does; kubectl describe looks for events with the name as UID.
	ref := &corev1.ObjectReference{Kind: "Node", Name: s.config.Name, UID: types.UID(s.config.Name)}
	s.config.Events.Event(ref, kind, reason, message)
}
