package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// silent is an endpoint of this node that takes packets and never answers.
const silent = "10.244.0.99 fd00:10:244::99 " + nodeName

// Which endpoints of TCP a change takes from a Service that has local ones too.
func TestLeaving(t *testing.T) {
	kept, both := web("web", "1", balanced(30004), keepSource), endpoints("web", pod1, pod2)
	ports := func(from, to int) *corev1.Service { // 0 is that of TCP, 1 of UDP
		svc := kept.DeepCopy()
		svc.Spec.Ports = svc.Spec.Ports[from:to]
		return svc
	}
	const all = "10.244.0.2:8080 10.244.0.3:8080 [fd00:10:244::2]:8080 [fd00:10:244::3]:8080"
	for _, tt := range []struct {
		name  string
		to    []*discoveryv1.EndpointSlice
		after *corev1.Service
		want  string
	}{
		{"nothing", both, kept, ""},
		{"another order", endpoints("web", pod2, pod1), kept, ""},
		{"one more", endpoints("web", pod1, pod2, pod3), kept, ""},
		{"one", endpoints("web", pod2), kept, "10.244.0.2:8080 [fd00:10:244::2]:8080"},
		{"one for another", endpoints("web", pod1, pod3), kept, "10.244.0.3:8080 [fd00:10:244::3]:8080"},
		{"all", endpoints("web"), kept, all},
		{"a family", both[:1], kept, "[fd00:10:244::2]:8080 [fd00:10:244::3]:8080"},
		{"the port of TCP", both, ports(1, 2), all},
		{"the port of UDP", both, ports(0, 1), ""},
		{"the Service", both, nil, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, n, c := &service{}, &numbers{used: map[uint32]bool{}}, &classes{numbers: map[sticky]uint32{}}
			if _, first := s.want(Ports(kept, both, nodeName), n, c); len(first) > 0 {
				t.Errorf("%v have gone before they came", first)
			}
			_, gone := s.want(Ports(tt.after, tt.to, nodeName), n, c)
			var got []string
			for _, e := range gone {
				got = append(got, e.String())
			}
			slices.Sort(got)
			if got := strings.Join(slices.Compact(got), " "); got != tt.want {
				t.Errorf("gone are %q, want %q", got, tt.want)
			}
		})
	}
}

// A client that has had no answer when its endpoint goes is answered by one of those that there are
// now: the next time that it asks, with what it began. One that has had an answer stays where it is.
func testUnanswered(t *testing.T, c *cluster) {
	sandbox.IP(t, `
neigh add 10.244.0.99 lladdr 02:00:00:00:00:99 dev duet0
neigh add fd00:10:244::99 lladdr 02:00:00:00:00:99 dev duet0
`)
	server := listenIn(t, "pod2", ":8082")
	for i, prefix := range []string{"10.96.0.", "fd00:10:96::"} { // a Service of its own for each: none is at work before
		n, m := fmt.Sprint(50+i), fmt.Sprint(60+i)
		waiting, answered := net.JoinHostPort(prefix+n, "80"), net.JoinHostPort(prefix+m, "80")
		c.set(web("waiting"+n, n), endpoints("waiting"+n, silent))
		c.set(web("answered"+m, m), at(8082, endpoints("answered"+m, pod2)))
		var client net.Conn
		eventually.True(t, time.Minute, "a connection to "+answered, func() bool {
			return hostnet.Within(path("other"), func() (err error) {
				client, err = net.DialTimeout("tcp", answered, patience*time.Millisecond)
				return err
			}) == nil
		})
		t.Cleanup(func() { _ = client.Close() })
		eventually.Is(t, time.Minute, waiting, func() string { return call(t, "other", "tcp", waiting) }, "timeout")

		said := make(chan string, 1)
		before := waits(t, waiting)
		go func() { said <- callPatiently(t, "other", waiting) }()
		eventually.True(t, time.Minute, "a client waits at "+waiting, func() bool { return waits(t, waiting) > before })
		c.set(web("answered"+m, m), endpoints("answered"+m, pod1))
		c.set(web("waiting"+n, n), endpoints("waiting"+n, pod1))
		if got := <-said; !strings.HasPrefix(got, "pod1 ") {
			t.Errorf("family %d: the client that waited got %q", i, got)
		}
		if n := waits(t, waiting); n != 0 {
			t.Errorf("family %d: %d flows that nobody answered are left", i, n)
		}
		if _, err := io.WriteString(client, "hello\n"); err != nil {
			t.Error(err)
		}
		if got, err := bufio.NewReader(server()).ReadString('\n'); got != "hello\n" {
			t.Errorf("family %d: of the connection that was answered came %q, %v", i, got, err)
		}
		c.services.Delete(web("waiting"+n, n))
		c.services.Delete(web("answered"+m, m))
	}
	wait(t, c)
}

// callPatiently is call for TCP with all the time it may need.
func callPatiently(t *testing.T, ns, to string) (said string) {
	t.Helper()
	err := hostnet.Within(path(ns), func() error {
		c, err := net.DialTimeout("tcp", to, time.Minute)
		if err != nil {
			return err
		}
		defer c.Close()
		said, err = bufio.NewReader(c).ReadString('\n')
		return err
	})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(said)
}

// waits is how many flows to an address have had no answer.
func waits(t *testing.T, to string) (n int) {
	t.Helper()
	if err := hostnet.ForgetUnanswered(func(f hostnet.Flow) bool {
		if f.To.String() == to {
			n++
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// listenIn returns what gives the next connection to a namespace's port.
func listenIn(t *testing.T, ns, port string) (next func() net.Conn) {
	t.Helper()
	var listener net.Listener
	if err := hostnet.Within(path(ns), func() (err error) {
		listener, err = net.Listen("tcp", port)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return func() net.Conn {
		_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
		c, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

// at gives endpoints another port.
func at(port int32, list []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	for _, s := range list {
		for i := range s.Ports {
			s.Ports[i].Port = &port
		}
	}
	return list
}
