package probes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"
)

func containerOf(t *testing.T, spec string) *corev1.Container {
	t.Helper()
	c := &corev1.Container{Name: "main"}
	if err := yaml.UnmarshalStrict([]byte(spec), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func targetOf(c *corev1.Container, ips ...netip.Addr) Target {
	return Target{
		Pod:       &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod", UID: "u1"}},
		Container: c, ContainerID: "c1", IPs: ips, Started: time.Now(),
	}
}

// TestRun plays a container whose command answers as a script says, in a bubble of its own time.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, container string
		answers         string // of the attempts in turn: + passed, - failed, ! error, T timed out; the last stays
		done            bool
		seconds         int
		want            []string
	}{
		{
			"ready at once", "readinessProbe: {exec: {command: [x]}, successThreshold: 1, failureThreshold: 3}", "+", false, 25,
			[]string{"0s Readiness passed, changed"},
		},
		{
			"not ready, then ready", "readinessProbe: {exec: {command: [x]}, periodSeconds: 2}", "--+", false, 9,
			[]string{"0s Readiness failed: Unhealthy Readiness probe failed: no", "2s Readiness failed: Unhealthy Readiness probe failed: no", "4s Readiness passed, changed"},
		},
		{
			"thresholds", "readinessProbe: {exec: {command: [x]}, periodSeconds: 1, successThreshold: 2, failureThreshold: 2}", "+++-+---", false, 7,
			[]string{"1s Readiness passed, changed", "3s Readiness failed: Unhealthy Readiness probe failed: no", "5s Readiness failed: Unhealthy Readiness probe failed: no", "6s Readiness failed, changed: Unhealthy Readiness probe failed: no", "7s Readiness failed: Unhealthy Readiness probe failed: no"},
		},
		{
			"delay", "readinessProbe: {exec: {command: [x]}, initialDelaySeconds: 5}", "+", false, 9,
			[]string{"5s Readiness passed, changed"},
		},
		{
			"dies", "livenessProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 3}", "+--", false, 9,
			[]string{"1s Liveness failed: Unhealthy Liveness probe failed: no", "2s Liveness failed, changed: Unhealthy Liveness probe failed: no grace 3"},
		},
		{
			"an error does not count", "livenessProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 2}", "-!!-", false, 3,
			[]string{
				"0s Liveness failed: Unhealthy Liveness probe failed: no", "1s Liveness failed: Unhealthy Liveness probe errored and resulted in unknown state: broken",
				"2s Liveness failed: Unhealthy Liveness probe errored and resulted in unknown state: broken", "3s Liveness failed, changed: Unhealthy Liveness probe failed: no",
			},
		},
		{
			"a timeout counts", "livenessProbe: {exec: {command: [x, z]}, timeoutSeconds: 2, failureThreshold: 1}", "T", false, 3,
			[]string{`0s Liveness failed, changed: Unhealthy Liveness probe failed: command timed out: "x z" timed out after 2s`},
		},
		{
			"the start gates the others", "{startupProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 9}, readinessProbe: {exec: {command: [x]}}}", "--+", false, 8,
			[]string{"0s Startup failed: Unhealthy Startup probe failed: no", "1s Startup failed: Unhealthy Startup probe failed: no", "2s Startup passed, changed", "2s Readiness passed, changed"},
		},
		{
			"never starts", "{startupProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 2}, livenessProbe: {exec: {command: [x]}}, readinessProbe: {exec: {command: [x]}}}", "-", false, 8,
			[]string{"0s Startup failed: Unhealthy Startup probe failed: no", "1s Startup failed, changed: Unhealthy Startup probe failed: no"},
		},
		{
			"started before", "{startupProbe: {exec: {command: [x]}}, readinessProbe: {exec: {command: [x]}}}", "+", true, 8,
			[]string{"0s Readiness passed, changed"},
		},
		{"nothing to ask", "{}", "+", false, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := containerOf(t, tt.container)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tt.seconds)*time.Second+time.Millisecond)
				defer cancel()
				target := targetOf(c)
				target.StartupDone = tt.done
				var got []string
				p := New(Config{Clock: clock.RealClock{}, Exec: script(tt.answers)})
				p.Run(ctx, target, func(r Result) { got = append(got, resultText(time.Since(target.Started), r)) })
				if !slices.Equal(got, tt.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			})
		})
	}
}

func script(answers string) func(context.Context, string, []string, time.Duration) ([]byte, int32, error) {
	n := -1
	return func(context.Context, string, []string, time.Duration) ([]byte, int32, error) {
		n = min(n+1, len(answers)-1)
		switch answers[n] {
		case '+':
			return []byte("yes"), 0, nil
		case '-':
			return []byte("no"), 1, nil
		case 'T':
			return nil, 0, status.Error(codes.DeadlineExceeded, "context deadline exceeded")
		}
		return nil, 0, errors.New("broken")
	}
}

func resultText(at time.Duration, r Result) string {
	text := fmt.Sprintf("%s %s failed", at.Truncate(time.Millisecond), r.Kind)
	if r.Passed {
		text = fmt.Sprintf("%s %s passed", at.Truncate(time.Millisecond), r.Kind)
	}
	if r.Changed {
		text += ", changed"
	}
	if r.Message != "" {
		text += ": " + r.Reason + " " + r.Message
	}
	if r.Grace != nil && r.Changed {
		text += fmt.Sprintf(" grace %d", *r.Grace)
	}
	return text
}

// loopback is a container's address in each family; no packet leaves the machine.
var loopback = []struct {
	name string
	ips  []netip.Addr
}{
	{"v4", []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
	{"v6", []netip.Addr{netip.IPv6Loopback()}},
	{"v4+v6", []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}},
	{"v6+v4", []netip.Addr{netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")}},
}

func listen(t *testing.T, ip netip.Addr) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// ask puts one question of a container.
func ask(t *testing.T, target Target, probe *corev1.Probe) answer {
	t.Helper()
	return newWorker(New(Config{Clock: clock.RealClock{}}), target, Liveness, probe, nil).ask(t.Context())
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/bad", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://elsewhere.example/")
		w.WriteHeader(http.StatusFound)
		io.WriteString(w, "moved")
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "web.example" || r.Header.Get("X-A") != "1" || !strings.HasPrefix(r.UserAgent(), "kube-probe/") || r.URL.RawQuery != "q=1" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, l := range loopback {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			listener, port := listen(t, l.ips[0])
			server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
			server.Start()
			defer server.Close()
			base := "http://" + net.JoinHostPort(l.ips[0].String(), fmt.Sprint(port))
			c := &corev1.Container{Name: "main", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(port)}}}
			for _, tt := range []struct {
				action string
				want   answer
			}{
				{"{path: /ok, port: http}", answer{passed, ""}},
				{"{path: /bad, port: http}", answer{failed, "HTTP probe failed with statuscode: 500"}},
				{"{path: /here, port: http}", answer{failed, "HTTP probe failed with statuscode: 500"}},
				{"{path: /there, port: http}", answer{passed, "Probe terminated redirects, Response body: moved"}},
				{"{path: '/headers?q=1', port: http, httpHeaders: [{name: host, value: web.example}, {name: X-A, value: '1'}]}", answer{passed, ""}},
				{"{path: /slow, port: http}", answer{failed, `Get "` + base + `/slow": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`}},
				{"{path: /ok, port: other}", answer{unknown, "invalid port number: other"}},
			} {
				action := &corev1.HTTPGetAction{}
				if err := yaml.UnmarshalStrict([]byte(tt.action), action); err != nil {
					t.Fatal(err)
				}
				probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: action}, TimeoutSeconds: 1}
				if got := ask(t, targetOf(c, l.ips...), probe); got != tt.want {
					t.Errorf("%s:\ngot  %v\nwant %v", tt.action, got, tt.want)
				}
			}
			action := &corev1.HTTPGetAction{Path: "ok", Host: l.ips[0].String(), Port: intstr.FromInt32(int32(port))}
			probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: action}}
			if got := ask(t, targetOf(c), probe); got.outcome != passed {
				t.Errorf("a host of its own: %v", got)
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	action := &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt32(int32(addr.Port()))}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: action}}
	if got, want := ask(t, targetOf(&corev1.Container{}, addr.Addr()), probe), (answer{failed, "HTTP probe failed with statuscode: 404"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTCP(t *testing.T) {
	for _, l := range loopback {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			listener, port := listen(t, l.ips[0])
			probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}}
			target := targetOf(&corev1.Container{}, l.ips...)
			if got := ask(t, target, probe); got.outcome != passed {
				t.Errorf("got %v", got)
			}
			listener.Close()
			want := answer{failed, "dial tcp " + net.JoinHostPort(l.ips[0].String(), fmt.Sprint(port)) + ": connect: connection refused"}
			if got := ask(t, target, probe); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
			if got := ask(t, targetOf(&corev1.Container{}), probe); got != (answer{unknown, "pod web_prod(u1) has no address yet"}) {
				t.Errorf("no address: %v", got)
			}
		})
	}
}

// TestSecondFamily: a Pod is asked at its first address, and at the second if the probe names it.
func TestSecondFamily(t *testing.T) {
	for _, l := range loopback {
		if len(l.ips) < 2 {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			listener, port := listen(t, l.ips[1])
			server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.NotFoundHandler()}}
			server.Start()
			defer server.Close()
			target, at := targetOf(&corev1.Container{}, l.ips...), intstr.FromInt32(int32(port))
			for host, want := range map[string][2]outcome{"": {failed, failed}, l.ips[1].String(): {passed, failed}} {
				tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: host, Port: at}}}
				if got := ask(t, target, tcp); got.outcome != want[0] {
					t.Errorf("TCP, host %q: %v", host, got)
				}
				web := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: host, Port: at}}}
				got := ask(t, target, web)
				if answered := strings.HasSuffix(got.text, "statuscode: 404"); got.outcome != want[1] || answered != (host != "") {
					t.Errorf("HTTP, host %q: %v", host, got)
				}
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	for _, l := range loopback {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			listener, port := listen(t, l.ips[0])
			server, states := grpc.NewServer(), health.NewServer()
			states.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			grpc_health_v1.RegisterHealthServer(server, states)
			go server.Serve(listener)
			defer server.Stop()
			bare, barePort := listen(t, l.ips[0])
			other := grpc.NewServer()
			go other.Serve(bare)
			defer other.Stop()
			silent, silentPort := listen(t, l.ips[0])
			silent.Close()
			for _, tt := range []struct {
				port    int
				service string
				want    answer
			}{
				{port, "", answer{passed, ""}},
				{port, "bad", answer{failed, `service unhealthy (responded with "NOT_SERVING")`}},
				{port, "nope", answer{failed, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"}},
				{barePort, "", answer{failed, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health"}},
				{silentPort, "", answer{failed, fmt.Sprintf("timeout: failed to connect service %q within 1s: context deadline exceeded", net.JoinHostPort(l.ips[0].String(), fmt.Sprint(silentPort)))}},
			} {
				probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(tt.port), Service: &tt.service}}}
				if got := ask(t, targetOf(&corev1.Container{}, l.ips...), probe); got != tt.want {
					t.Errorf("%q:\ngot  %v\nwant %v", tt.service, got, tt.want)
				}
			}
		})
	}
}

// The command sees the variables that the container's spec gives values to.
func TestExecExpands(t *testing.T) {
	c := containerOf(t, "{env: [{name: A, value: '1'}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}], livenessProbe: {exec: {command: [x, $(A), $(B)]}}}")
	var got []string
	p := New(Config{Clock: clock.RealClock{}, Exec: func(_ context.Context, _ string, command []string, _ time.Duration) ([]byte, int32, error) {
		got = command
		return nil, 0, nil
	}})
	newWorker(p, targetOf(c), Liveness, c.LivenessProbe, nil).ask(t.Context())
	if want := []string{"x", "1", "$(B)"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHook(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer server.Close()
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	target := targetOf(&corev1.Container{Name: "main"}, addr.Addr())
	exec := &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "x"}}}
	for _, tt := range []struct {
		name, answers string
		hook          *corev1.LifecycleHandler
		want          string
	}{
		{"exec", "+", exec, "<nil>"},
		{"exec fails", "-", exec, `Exec lifecycle hook ([sh -c x]) for Container "main" in Pod "web_prod(u1)" failed - error: command 'sh -c x' exited with 1: no, message: "no"`},
		{"http, whatever it says", "", &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(int32(addr.Port()))}}, "<nil>"},
		{"http to nowhere", "", &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: intstr.FromString("y")}}, `HTTP lifecycle hook (/x) for Container "main" in Pod "web_prod(u1)" failed - error: invalid port number: y`},
		{"sleep", "", &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New(Config{Clock: clock.RealClock{}, Exec: script(tt.answers)})
			if got := fmt.Sprint(p.Hook(t.Context(), target, tt.hook)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
