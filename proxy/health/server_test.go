package health

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
	"github.com/duetk8s/duet/test/sandbox"
)

// cluster is what a server is told by.
type cluster struct {
	services, slices, nodes *fcache.FakeControllerSource
	events                  *record.FakeRecorder
	gauge                   *Gauge
	stop                    func()
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	sandbox.Need(t)
	sandbox.IP(t, "link set lo up")
	c := &cluster{
		services: fcache.NewFakeControllerSource(), slices: fcache.NewFakeControllerSource(), nodes: fcache.NewFakeControllerSource(),
		events: record.NewFakeRecorder(10), gauge: NewGauge(),
	}
	informer := func(s *fcache.FakeControllerSource, o runtime.Object) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(s, o, 0, cache.Indexers{})
	}
	deps := Deps{
		Services: informer(c.services, &corev1.Service{}), EndpointSlices: informer(c.slices, &discoveryv1.EndpointSlice{}),
		Nodes: informer(c.nodes, &corev1.Node{}), Events: c.events,
	}
	s, err := New(deps, Config{Node: here}, c.gauge)
	if err != nil {
		t.Fatal(err)
	}
	c.stop = background.Run(t, background.Each(deps.Services, deps.EndpointSlices, deps.Nodes), s.Run)
	return c
}

// ask returns "200 BODY", or "refused".
func ask(t *testing.T, host string, port int, path string) (answer string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, fmt.Sprint(port))+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Do(request)
	if err != nil {
		return "refused", nil
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(got.StatusCode, " ", string(body)), got.Header
}

// says waits until a port answers with this code in IPv4 and with that in IPv6, or is "refused".
func says(t *testing.T, port int, path, v4, v6 string) {
	t.Helper()
	eventually.Is(t, 20*time.Second, fmt.Sprint("port ", port), func() string {
		got4, _ := ask(t, "127.0.0.1", port, path)
		got6, _ := ask(t, "::1", port, path)
		return strings.Fields(got4)[0] + " " + strings.Fields(got6)[0]
	}, v4+" "+v6)
}

func (c *cluster) set(svc *corev1.Service, lines ...string) {
	c.services.Modify(svc)
	for _, s := range slices(svc.Name, lines...) {
		c.slices.Modify(s)
	}
}

// fallBehind makes a change wait for too long.
func (c *cluster) fallBehind() {
	c.gauge.mu.Lock()
	defer c.gauge.mu.Unlock()
	c.gauge.queued = time.Now().Add(-2 * staleAfter)
}

// TestCheckPorts: ports of Services come, change and go.
func TestCheckPorts(t *testing.T) {
	c := newCluster(t)
	both := []string{"10.96.0.1", "fd00:96::1"}
	c.set(balanced("one", 30100, both...), "10.244.0.2 node0 ready", "fd00::2 node1 ready", "10.244.0.3 node0 ready")
	says(t, 30100, "/", "200", "503")
	body, header := ask(t, "127.0.0.1", 30100, "/any/path")
	if want := "200 {\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"one\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}\n"; body != want {
		t.Errorf("got %s, want %s", body, want)
	}
	for name, want := range map[string]string{
		"X-Load-Balancing-Endpoint-Weight": "2", "Content-Type": "application/json", "X-Content-Type-Options": "nosniff",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, header = ask(t, "::1", 30100, "/"); header.Get("X-Load-Balancing-Endpoint-Weight") != "0" {
		t.Errorf("IPv6: %v", header)
	}

	c.set(balanced("one", 30100, both...), "10.244.0.2 node0 ending", "fd00::2 node0 ready", "10.244.0.3 node1 ready")
	says(t, 30100, "/", "503", "200")
	c.set(balanced("four", 30104, both[0]), "10.244.0.2 node0 ready", "fd00::2 node0 ready")
	says(t, 30104, "/", "200", "refused")
	c.set(balanced("six", 30106, both[1]), "10.244.0.2 node0 ready", "fd00::2 node0 ready")
	says(t, 30106, "/", "refused", "200")
	c.set(balanced("six", 30106, both[1], both[0]), "10.244.0.2 node0 ready", "fd00::2 node0 ready")
	says(t, 30106, "/", "200", "200")
	if n := gather(t, c.gauge)["duet_proxy_health_check_ports"].GetGauge().GetValue(); n != 7 { // with the server's own two
		t.Errorf("%v ports open, want 7", n)
	}
	c.set(balanced("six", 30106, both[1]))
	says(t, 30106, "/", "refused", "200")
	c.set(balanced("six", 30116, both[1]))
	says(t, 30116, "/", "refused", "200")
	says(t, 30106, "/", "refused", "refused")
	cluster := balanced("four", 0, both[0])
	cluster.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	c.set(cluster)
	says(t, 30104, "/", "refused", "refused")
	c.services.Delete(balanced("one", 30100, both...))
	says(t, 30100, "/", "refused", "refused")
	c.set(balanced("two", 30100, both...), "10.244.0.2 node0 ready") // a port is free again
	says(t, 30100, "/", "200", "503")

	c.fallBehind() // such a proxy is no good for a load balancer
	says(t, 30100, "/", "503", "503")
	if got, _ := ask(t, "127.0.0.1", 30100, "/"); !strings.Contains(got, `"serviceProxyHealthy": false`) {
		t.Errorf("stale: %s", got)
	}
	select {
	case e := <-c.events.Events:
		t.Errorf("event %s", e)
	default:
	}
	c.stop()
	says(t, 30100, "/", "refused", "refused")
	says(t, defaultPort, "/livez", "refused", "refused")
}

// TestTakenPort: somebody else has the port in one family.
func TestTakenPort(t *testing.T) {
	c := newCluster(t)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp6", "[::]:30100")
	if err != nil {
		t.Fatal(err)
	}
	c.set(balanced("one", 30100, "10.96.0.1", "fd00:96::1"), "10.244.0.2 node0 ready", "fd00::2 node0 ready")
	want := `Warning FailedToStartServiceHealthcheck node node0 failed to start healthcheck "default/one" on port 30100: listen tcp6 :30100: bind: address already in use`
	if got := <-c.events.Events; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, _ := ask(t, "127.0.0.1", 30100, "/"); !strings.HasPrefix(got, "200") {
		t.Errorf("the other family: %s", got)
	}
	taken.Close()
	says(t, 30100, "/", "200", "200")
	select {
	case e := <-c.events.Events:
		t.Errorf("one more event: %s", e)
	default:
	}
}

// TestOwnHealth: /healthz knows of the node, /livez does not.
func TestOwnHealth(t *testing.T) {
	c := newCluster(t)
	node := func(taints ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: here}}
		for _, key := range taints {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
		return n
	}
	check := func(healthz, livez string) {
		t.Helper()
		says(t, defaultPort, "/healthz", healthz, healthz)
		says(t, defaultPort, "/livez", livez, livez)
	}
	c.nodes.Add(node())
	check("200", "200")
	text, header := ask(t, "::1", defaultPort, "/healthz")
	var body map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "200 ")), &body); err != nil || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v, %v: %s", err, header, text)
	}
	if body["nodeEligible"] != true || body["healthy"] != true || body["lastUpdated"] != body["currentTime"] || len(body["status"].(map[string]any)) != 2 {
		t.Errorf("healthz: %s", text)
	}
	if text, _ = ask(t, "::1", defaultPort, "/livez"); strings.Contains(text, "nodeEligible") {
		t.Errorf("livez: %s", text)
	}
	c.nodes.Modify(node("other", deletionTaint))
	check("503", "200")
	c.nodes.Modify(node("other"))
	check("200", "200")
	gone := node()
	gone.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	c.nodes.Modify(gone)
	check("503", "200")
	c.nodes.Modify(node())
	check("200", "200")
	c.nodes.Delete(node())
	check("503", "200")
	c.nodes.Add(node())
	check("200", "200")
	c.fallBehind()
	check("503", "503")
	c.gauge.Synced(time.Now(), 0, nil)
	check("200", "200")
	for _, host := range []string{"127.0.0.1", "::1"} {
		if got, _ := ask(t, host, defaultPort, "/metrics"); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "kubeproxy_sync_proxy_rules_duration_seconds_count 1\n") {
			t.Errorf("metrics: %.300s", got)
		}
		if got, _ := ask(t, host, defaultPort, "/other"); !strings.HasPrefix(got, "404") {
			t.Errorf("other: %s", got)
		}
	}
}
