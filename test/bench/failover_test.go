package bench_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/loadbalancer/announce"
	"github.com/duetk8s/duet/test/cluster"
	"github.com/duetk8s/duet/test/eventually"
)

const (
	failovers = 5
	// A connection that takes longer counts as none.
	attempt = 50 * time.Millisecond
)

// BenchmarkFailover kills the node that answers for a load balancer, with its link, while a client
// that is no node connects again and again to both of its addresses; then the node comes back and
// answers again. It measures the longest time without an answer, after the death (gap) and from
// the return until a while after the move back (return).
func BenchmarkFailover(b *testing.B) {
	c := newLab(b)
	c.up(b, 2)
	c.LoadImages(b)
	w := c.watchPods(b)
	server := pod("server") // on the node that stays
	server.Labels, server.Spec.NodeName = map[string]string{"app": "server"}, "worker0"
	if _, _, err := c.run(b.Context(), w, server); err != nil {
		b.Fatal(err)
	}
	vips := c.balancer(b, "worker1")
	outside := c.outside(b)
	var gaps, returns [2][]time.Duration
	for range failovers {
		dials := knock(b, outside, vips)
		eventually.True(b, cluster.Patience, "an answer", func() bool { return dials[0].total() > 0 && dials[1].total() > 0 })
		for _, d := range dials {
			d.longest() // begins anew
		}
		ip(b, "-n duet-"+c.Name+"-net link set worker1 down")
		c.Kill(b, cluster.Box, "worker1")
		before := [2]int{dials[0].total(), dials[1].total()}
		eventually.True(b, cluster.Patience, "answers of the other node", func() bool { return dials[0].total() > before[0]+20 && dials[1].total() > before[1]+20 })
		for i, d := range dials {
			gaps[i] = append(gaps[i], d.longest())
		}
		c.up(b, 2)
		time.Sleep(6 * time.Second) // its probation, and more
		for i, d := range dials {
			returns[i] = append(returns[i], d.longest())
			d.end()
			b.Logf("%s: gap %s, return %s", vips[i], gaps[i][len(gaps[i])-1], returns[i][len(returns[i])-1])
		}
	}
	for i, family := range []string{"IPv4", "IPv6"} {
		b.ReportMetric(median(gaps[i]), "gap-"+family+"-ms")
		b.ReportMetric(milliseconds(slices.Max(gaps[i])), "max-gap-"+family+"-ms")
		b.ReportMetric(milliseconds(slices.Max(returns[i])), "max-return-"+family+"-ms")
	}
	once(b)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// balancer makes a Service that a node is elected for, and returns its addresses, IPv4 first.
func (c *lab) balancer(b *testing.B, node string) (vips []netip.Addr) {
	b.Helper()
	policy := corev1.IPFamilyPolicyRequireDualStack
	for _, name := range numberedNames("lb", 64) {
		svc, err := c.CoreV1().Services("default").Create(b.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: &policy, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
				Selector: map[string]string{"app": "server"}, Ports: []corev1.ServicePort{{Port: 80}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if announce.Elect(svc.UID, []announce.Station{{Node: "worker0"}, {Node: "worker1"}}) != node {
			continue
		}
		eventually.True(b, cluster.Patience, "addresses", func() bool {
			if svc, err = c.CoreV1().Services("default").Get(b.Context(), name, metav1.GetOptions{}); err != nil {
				b.Fatal(err)
			}
			return len(svc.Status.LoadBalancer.Ingress) == 2
		})
		for _, in := range svc.Status.LoadBalancer.Ingress {
			vips = append(vips, netip.MustParseAddr(in.IP))
		}
		return vips
	}
	b.Fatalf("%s is elected for no Service", node)
	return nil
}

// outside makes a namespace on the lab's network that is no node, and returns its path.
func (c *lab) outside(b *testing.B) string {
	b.Helper()
	name, bridge := "outside-"+c.Name, "duet-"+c.Name+"-net"
	ip(b, "netns add "+name)
	b.Cleanup(func() { ip(b, "netns del "+name) })
	for line := range strings.Lines(strings.NewReplacer("OUTSIDE", name, "BRIDGE", bridge).Replace(`link add outside netns BRIDGE type veth peer name eth0 netns OUTSIDE
-n BRIDGE link set outside master br0 up
-n OUTSIDE link set eth0 up
-n OUTSIDE addr add 172.30.0.250/24 dev eth0
-n OUTSIDE addr add fd00:172:30::fffe/64 dev eth0 nodad`)) {
		ip(b, strings.TrimSpace(line))
	}
	return "/run/netns/" + name
}

func ip(b *testing.B, args string) {
	b.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		b.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// knocker fetches a page again and again.
type knocker struct {
	end func()

	mu       sync.Mutex
	answers  int
	last     time.Time
	longestT time.Duration
}

// knock begins to connect to port 80 of each address from a namespace.
func knock(b *testing.B, namespace string, at []netip.Addr) []*knocker {
	var all []*knocker
	for _, addr := range at {
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan struct{})
		k := &knocker{last: time.Now(), end: func() { cancel(); <-done }}
		all = append(all, k)
		go func() {
			defer close(done)
			for ; ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
				if hostnet.Within(namespace, func() error { return fetch(ctx, addr) }) == nil {
					k.note()
				}
			}
		}()
	}
	return all
}

func fetch(ctx context.Context, addr netip.Addr) error {
	d := net.Dialer{Timeout: attempt}
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, 80).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(attempt))
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func (k *knocker) note() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.answers++
	k.longestT, k.last = max(k.longestT, now.Sub(k.last)), now
}

func (k *knocker) total() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.answers
}

// longest returns the longest time between two answers, and begins anew.
func (k *knocker) longest() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.longestT
	k.longestT = 0
	return d
}
