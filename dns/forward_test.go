package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// upstream is a DNS server on loopback that answers as a test says, over UDP and TCP on one port.
type upstream struct {
	at       string
	udp, tcp atomic.Int32 // questions that came
}

func newUpstream(t *testing.T, answer func(network string, m *dns.Msg) []*dns.Msg) *upstream {
	t.Helper()
	u := &upstream{}
	var packets net.PacketConn
	var streams net.Listener
	for range 20 { // until a port is free for both
		var err error
		if packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if streams, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			break
		}
		packets.Close()
	}
	u.at = packets.LocalAddr().String()
	serve := func(network string, count *atomic.Int32, s *dns.Server) {
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			count.Add(1)
			for _, a := range answer(network, m) {
				_ = w.WriteMsg(a)
			}
		})
		started, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	serve("udp", &u.udp, &dns.Server{PacketConn: packets})
	serve("tcp", &u.tcp, &dns.Server{Listener: streams})
	return u
}

// says answers every question with an address.
func says(addr string) func(string, *dns.Msg) []*dns.Msg {
	return func(_ string, m *dns.Msg) []*dns.Msg {
		reply := new(dns.Msg).SetReply(m)
		if ip := netip.MustParseAddr(addr); ip.Is4() == (m.Question[0].Qtype == dns.TypeA) {
			reply.Answer = []dns.RR{address(m.Question[0].Name, ip)}
		}
		return []*dns.Msg{reply}
	}
}

// forwarding is a server of an empty cluster that asks these.
func forwarding(to ...string) *Server {
	s := testServer(known{})
	s.forwarder.timeout = 300 * time.Millisecond
	s.routing.now.Store(&routes{others: &upstreams{servers: to, dial: dial}})
	return s
}

// answerOf is the code and the answers' data.
func answerOf(m *dns.Msg) string {
	texts := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		texts = append(texts, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(texts, " ")
}

func ask(t *testing.T, s *Server, name string, kind uint16) *dns.Msg {
	t.Helper()
	reply, _ := s.reply(t.Context(), new(dns.Msg).SetQuestion(name, kind))
	return reply
}

func TestForward(t *testing.T) {
	long := func(network string, m *dns.Msg) []*dns.Msg {
		reply := new(dns.Msg).SetReply(m)
		for i := range 100 {
			reply.Answer = append(reply.Answer, address(m.Question[0].Name, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})))
		}
		if network == "udp" {
			reply.Truncate(512)
		}
		return []*dns.Msg{reply}
	}
	with := func(change func(*dns.Msg)) func(string, *dns.Msg) []*dns.Msg {
		return func(network string, m *dns.Msg) []*dns.Msg {
			list := says("192.0.2.1")(network, m)
			change(list[0])
			return list
		}
	}
	silent := func(string, *dns.Msg) []*dns.Msg { return nil }
	const name = "Www.Example.com."
	for _, tt := range []struct {
		name    string
		servers []func(string, *dns.Msg) []*dns.Msg
		kind    uint16
		want    string
		asked   string // times each server was asked, over UDP and TCP
	}{
		{"v4", []func(string, *dns.Msg) []*dns.Msg{says("192.0.2.1")}, dns.TypeA, "NOERROR 192.0.2.1", "1/0"},
		{"v6", []func(string, *dns.Msg) []*dns.Msg{says("2001:db8::1")}, dns.TypeAAAA, "NOERROR 2001:db8::1", "1/0"},
		{"no record of that type", []func(string, *dns.Msg) []*dns.Msg{says("2001:db8::1")}, dns.TypeA, "NOERROR", "1/0"},
		{"no such name is an answer", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeNameError, nil }), says("192.0.2.2")}, dns.TypeA, "NXDOMAIN", "1/0 0/0"},
		{"the first is silent", []func(string, *dns.Msg) []*dns.Msg{silent, says("192.0.2.2")}, dns.TypeA, "NOERROR 192.0.2.2", "1/0 1/0"},
		{"the first fails", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), says("192.0.2.2")}, dns.TypeA, "NOERROR 192.0.2.2", "1/0 1/0"},
		{"the first refuses, the other is silent", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Rcode, m.Answer = dns.RcodeRefused, nil }), silent}, dns.TypeA, "REFUSED", "1/0 1/0"},
		{"all are silent", []func(string, *dns.Msg) []*dns.Msg{silent, silent}, dns.TypeA, "SERVFAIL", "1/0 1/0"},
		{"another number", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Id++ })}, dns.TypeA, "SERVFAIL", "1/0"},
		{"another question", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Question[0].Name = "example.org." })}, dns.TypeA, "SERVFAIL", "1/0"},
		{"another type", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMX })}, dns.TypeA, "SERVFAIL", "1/0"},
		{"a question for an answer", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Response = false })}, dns.TypeA, "SERVFAIL", "1/0"},
		{"guesses before the answer", []func(string, *dns.Msg) []*dns.Msg{func(network string, m *dns.Msg) []*dns.Msg {
			guess := says("192.0.2.66")(network, m)[0]
			guess.Id++
			return []*dns.Msg{guess, says("192.0.2.1")(network, m)[0]}
		}}, dns.TypeA, "NOERROR 192.0.2.1", "1/0"},
		{"speaks of the message between us", []func(string, *dns.Msg) []*dns.Msg{with(func(m *dns.Msg) { m.Rcode = dns.RcodeBadVers; m.SetEdns0(1232, false) })}, dns.TypeA, "SERVFAIL 192.0.2.1", "1/0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var servers []*upstream
			var at []string
			for _, f := range tt.servers {
				servers = append(servers, newUpstream(t, f))
				at = append(at, servers[len(servers)-1].at)
			}
			reply := ask(t, forwarding(at...), name, tt.kind)
			if got := answerOf(reply); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			var asked []string
			for _, u := range servers {
				asked = append(asked, fmt.Sprintf("%d/%d", u.udp.Load(), u.tcp.Load()))
			}
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("asked %s, want %s", got, tt.asked)
			}
			if !reply.Response || !reply.RecursionAvailable || reply.Authoritative || reply.Question[0].Name != name {
				t.Errorf("a strange answer: %v", reply)
			}
		})
	}
	t.Run("too long for UDP", func(t *testing.T) {
		u := newUpstream(t, long)
		if reply := ask(t, forwarding(u.at), name, dns.TypeA); len(reply.Answer) != 100 || reply.Truncated || u.tcp.Load() != 1 {
			t.Errorf("%d answers, truncated %t, asked %d times over TCP", len(reply.Answer), reply.Truncated, u.tcp.Load())
		}
	})
	t.Run("too long for UDP, and no TCP", func(t *testing.T) {
		u := newUpstream(t, func(network string, m *dns.Msg) []*dns.Msg {
			if network == "tcp" {
				return nil
			}
			return long(network, m)
		})
		if reply := ask(t, forwarding(u.at), name, dns.TypeA); !reply.Truncated || len(reply.Answer) == 0 {
			t.Errorf("%d answers, truncated %t", len(reply.Answer), reply.Truncated)
		}
	})
}

// What lies between a client and us stays there; what the client wants to know goes on.
func TestForwardMessage(t *testing.T) {
	asked := make(chan *dns.Msg, 1)
	u := newUpstream(t, func(network string, m *dns.Msg) []*dns.Msg {
		asked <- m.Copy()
		reply := says("192.0.2.1")(network, m)
		reply[0].SetEdns0(4096, true)
		reply[0].AuthenticatedData = true
		return reply
	})
	m := new(dns.Msg).SetQuestion("eXample.com.", dns.TypeA)
	m.RecursionDesired, m.CheckingDisabled = false, true
	m.SetEdns0(4096, true)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
	w := &client{over: &net.UDPAddr{}}
	forwarding(u.at).handle(t.Context(), w, m)
	reply, got := w.message(t), <-asked
	if opt := got.IsEdns0(); !got.RecursionDesired || !got.CheckingDisabled || opt == nil || !opt.Do() || len(opt.Option) != 0 || opt.UDPSize() != maxUDP {
		t.Errorf("asked %v", got)
	}
	opts := 0
	for _, rr := range reply.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			opts++
		}
	}
	if opts != 1 || reply.Id != m.Id || !reply.AuthenticatedData || reply.Question[0] != m.Question[0] {
		t.Errorf("answered %v", reply)
	}
}

// The server that answered last is asked first: one that is dead costs one question a timeout.
func TestForwardRemembers(t *testing.T) {
	dead, alive := newUpstream(t, func(string, *dns.Msg) []*dns.Msg { return nil }), newUpstream(t, says("192.0.2.1"))
	s := forwarding(dead.at, alive.at)
	for i := range 5 {
		if got := answerOf(ask(t, s, fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); got != "NOERROR 192.0.2.1" {
			t.Error(got)
		}
	}
	if dead.udp.Load() != 1 || alive.udp.Load() != 5 {
		t.Errorf("asked the dead one %d times, the other %d times", dead.udp.Load(), alive.udp.Load())
	}
}

// One question at a time, whoever asks, in whatever spelling; each asker gets a message of its own.
func TestForwardOnce(t *testing.T) {
	const askers = 50
	synctest.Test(t, func(t *testing.T) {
		var dialed atomic.Int32
		release := make(chan struct{})
		s := forwarding("192.0.2.53:53")
		s.routing.now.Load().others.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			dialed.Add(1)
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				c := dns.Conn{Conn: far}
				m, err := c.ReadMsg()
				if err != nil {
					return
				}
				select {
				case <-release:
				case <-ctx.Done():
				}
				_ = c.WriteMsg(says("192.0.2.1")("udp", m)[0])
			}()
			return near, nil
		}
		var group sync.WaitGroup
		for i := range askers {
			group.Go(func() {
				name := "example.com."
				if i%2 == 1 {
					name = "EXAMPLE.com."
				}
				reply, _ := s.reply(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA))
				if got := answerOf(reply); got != "NOERROR 192.0.2.1" || reply.Question[0].Name != name {
					t.Error(got, reply.Question)
				}
				reply.Answer[0].Header().Ttl = uint32(i) // its own
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if dialed.Load() != 1 {
			t.Errorf("asked %d times", dialed.Load())
		}
	})
}

// A loop costs one question: what comes back waits for its own answer.
func TestForwardLoop(t *testing.T) {
	s := forwarding()
	u := newUpstream(t, func(_ string, m *dns.Msg) []*dns.Msg {
		back, _ := s.reply(t.Context(), m)
		return []*dns.Msg{back}
	})
	s.routing.now.Store(&routes{others: &upstreams{servers: []string{u.at}, dial: dial}})
	if got := answerOf(ask(t, s, "example.com.", dns.TypeA)); got != "SERVFAIL" || u.udp.Load() != 1 {
		t.Errorf("%s after %d questions", got, u.udp.Load())
	}
}

// No more questions wait than there are places; the rest is told at once.
func TestForwardFull(t *testing.T) {
	s := forwarding("127.0.0.1:1")
	s.forwarder.slots = make(chan struct{}) // no place at all
	if got := answerOf(ask(t, s, "example.com.", dns.TypeA)); got != "SERVFAIL" {
		t.Error(got)
	}
	if _, err := s.forwarder.ask(t.Context(), new(dns.Msg).SetQuestion("example.com.", dns.TypeA), s.routes().others); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

// An answer that an upstream has cut stays cut behind an alias: the client is to ask again over TCP.
func TestForwardAliasTruncated(t *testing.T) {
	u := newUpstream(t, func(network string, m *dns.Msg) []*dns.Msg {
		if network == "tcp" {
			return nil
		}
		list := says("192.0.2.1")(network, m)
		list[0].Truncated = true
		return list
	})
	s := forwarding(u.at)
	s.source = cluster()
	if reply := ask(t, s, "outside.default.svc.cluster.local.", dns.TypeA); !reply.Truncated {
		t.Errorf("got %v", reply)
	}
}

// An alias of the cluster that leads out of it is followed; who asked gets one answer.
func TestForwardAlias(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		kind       uint16
		want       string
	}{
		{"v4", "192.0.2.1", dns.TypeA, "NOERROR example.com. 192.0.2.1"},
		{"v6", "2001:db8::1", dns.TypeAAAA, "NOERROR example.com. 2001:db8::1"},
	} {
		u := newUpstream(t, says(tt.addr))
		s := forwarding(u.at)
		s.source = cluster()
		if got := answerOf(ask(t, s, "outside.default.svc.cluster.local.", tt.kind)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		// A name of the zone, and of the cluster's addresses, is never asked for elsewhere.
		for _, name := range []string{"none.default.svc.cluster.local.", "cluster.local.", "1.9.96.10.in-addr.arpa.", arpa("fd00:96::99"), arpa("10.100.0.9"), arpa("fd00:100::9"), "reverse.default.svc.cluster.local."} {
			ask(t, s, name, tt.kind)
		}
		if u.udp.Load() != 1 {
			t.Errorf("%s: asked %d times", tt.name, u.udp.Load())
		}
	}
}
