package nodes

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/duetk8s/duet/test/cluster"
)

// httpds is a Pod's program: port 8004 on 127.0.0.1, 8006 on ::1, 8000 everywhere, and 9004 and 9006 on
// the Pod's own addresses of either family.
const httpds = `mkdir /www; cd /www; echo hello > index.html
httpd -p 127.0.0.1:8004; httpd -p '[::1]:8006'; httpd -p '[::]:8000'
for ip in $(echo $IPS | tr , ' '); do case $ip in *:*) httpd -p "[$ip]:9006";; *) httpd -p $ip:9004;; esac; done
touch ready; ` + cluster.Forever

// TestReach: from outside, without an address of the cluster: the API server's proxies, `kubectl proxy`
// and `kubectl port-forward`, and what kubectl shows of Services, in each stack.
func TestReach(t *testing.T) {
	for _, families := range [][]corev1.IPFamily{
		{corev1.IPv4Protocol}, {corev1.IPv6Protocol}, {corev1.IPv4Protocol, corev1.IPv6Protocol}, {corev1.IPv6Protocol, corev1.IPv4Protocol},
	} {
		t.Run(fmt.Sprint(families), func(t *testing.T) {
			var services, pods []string
			for _, f := range families {
				if f == corev1.IPv4Protocol {
					services, pods = append(services, "10.96.0.0/16"), append(pods, "10.244.0.0/16")
				} else {
					services, pods = append(services, "fd00:10:96::/112"), append(pods, "fd00:10:244::/56")
				}
			}
			l := newLab(t, "--nodes", "1", "--service-cidr", strings.Join(services, ","), "--pod-cidr", strings.Join(pods, ","))
			reach(t, l, families)
		})
	}
}

func reach(t *testing.T, l *lab, families []corev1.IPFamily) {
	l.Create(t, cluster.Busybox("web", httpds, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		c := &p.Spec.Containers[0]
		c.Env = []corev1.EnvVar{{Name: "IPS", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}}}}
		c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-f", "/www/ready"}}}}
	}))
	pod := l.Ready(t, "web")[0]
	only := map[corev1.IPFamily]string{corev1.IPv4Protocol: "four", corev1.IPv6Protocol: "six"}
	for _, f := range families {
		port := map[corev1.IPFamily]int32{corev1.IPv4Protocol: 9004, corev1.IPv6Protocol: 9006}[f]
		l.service(t, only[f], port, func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{f} })
	}
	l.service(t, "web", 8000, func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack) })
	if len(families) > 1 {
		l.service(t, "both", 8000, func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = new(corev1.IPFamilyPolicyRequireDualStack) })
	}
	l.service(t, "headless", 8000, func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.IPFamilyPolicy = corev1.ClusterIPNone, new(corev1.IPFamilyPolicyPreferDualStack)
	})
	l.service(t, "none", 8000, func(s *corev1.ServiceSpec) { s.Selector = map[string]string{"app": "nobody"} })

	tryProxies(t, l, pod, families)
	tryForwards(t, l, families)
	for _, svc := range l.services(t) {
		tryViews(t, l, svc, pod)
	}
	tryHealth(t, l, pod)
}

// service makes a Service of port 80 before a port of the Pod.
func (l *lab) service(t *testing.T, name string, port int32, change func(*corev1.ServiceSpec)) {
	t.Helper()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(port)}},
	}}
	change(&svc.Spec)
	if _, err := l.Client.CoreV1().Services("default").Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) services(t *testing.T) []corev1.Service {
	t.Helper()
	list, err := l.Client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(s corev1.Service) bool { return s.Name == "kubernetes" })
}

// tryProxies goes through `kubectl proxy` to the API server's proxies.
func tryProxies(t *testing.T, l *lab, pod *corev1.Pod, families []corev1.IPFamily) {
	at := background(t, l, regexp.MustCompile(`Starting to serve on (\S+)`), "proxy", "--port=0")
	get := func(path string) string { return fetch(t, "http://"+at+"/api/v1/namespaces/default/"+path) }
	want := map[string]string{
		"services/web:80/proxy/": "200 hello", "services/web:http/proxy/index.html": "200 hello", "services/headless:80/proxy/": "200 hello",
		"pods/web:8000/proxy/":    "200 hello",
		"services/none:80/proxy/": `503 no endpoints available for service "none"`, "services/web:81/proxy/": `503 no service port 81 found for service "web"`,
		"services/nobody:80/proxy/": `404 services "nobody" not found`, "services/web:80/proxy/missing": "404 ",
	}
	for _, f := range families {
		if f == corev1.IPv4Protocol {
			want["services/four:80/proxy/"], want["pods/web:9004/proxy/"] = "200 hello", "200 hello"
		} else {
			want["services/six:80/proxy/"], want["pods/web:9006/proxy/"] = "200 hello", "200 hello"
		}
	}
	var refused []string
	for _, ip := range pod.Status.PodIPs {
		refused = append(refused, fmt.Sprintf("dial tcp %s: connect: connection refused", net.JoinHostPort(ip.IP, "8004")))
	}
	want["pods/web:8004/proxy/"] = "503 error trying to reach service: " + strings.Join(refused, "; ")
	for path, text := range want {
		cluster.Eventually(t, path, func() string {
			if got := get(path); !strings.HasPrefix(got, text) {
				return fmt.Sprintf("got %q, want %q", got, text)
			}
			return ""
		})
	}
	if got := l.Must(t, "kubectl", "get", "--raw", "/api/v1/namespaces/default/services/http:web:80/proxy/"); got != "hello\n" {
		t.Errorf("get --raw: %q", got)
	}
	if got := fetch(t, "http://"+at+"/api/v1/nodes/"+pod.Spec.NodeName+":10256/proxy/healthz"); !strings.HasPrefix(got, "200") || !strings.Contains(got, `"nodeEligible": true`) {
		t.Errorf("the proxy's health through the node: %s", got)
	}
}

// tryForwards: port-forward reaches what listens on the Pod's loopback in either family.
func tryForwards(t *testing.T, l *lab, families []corev1.IPFamily) {
	targets := map[string]string{"pod/web": "8000", "svc/web": "80", "svc/both": "http"}
	check := func(target, port string) {
		at := background(t, l, regexp.MustCompile(`Forwarding from (127\.\S+) ->`), "port-forward", target, ":"+port)
		if got := fetch(t, "http://"+at+"/"); got != "200 hello\n" {
			t.Errorf("%s %s: got %q", target, port, got)
		}
	}
	if len(families) == 1 {
		delete(targets, "svc/both")
	}
	for target, port := range targets {
		check(target, port)
	}
	for _, f := range families {
		check("pod/web", map[corev1.IPFamily]string{corev1.IPv4Protocol: "8004", corev1.IPv6Protocol: "8006"}[f])
	}
	if out, err := l.Run("kubectl", "port-forward", "--pod-running-timeout=1s", "svc/none", ":80"); err == nil {
		t.Errorf("port-forward to nobody: %s", out)
	}
}

// tryHealth asks each of the node's addresses, from a Pod, at the health-check port of a Service of both
// families if there are two.
func tryHealth(t *testing.T, l *lab, pod *corev1.Pod) {
	l.Create(t, cluster.Busybox("client", cluster.Forever))
	l.Ready(t, "client")
	l.service(t, "balanced", 8000, func(s *corev1.ServiceSpec) {
		s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
	})
	svc, err := l.Client.CoreV1().Services("default").Get(t.Context(), "balanced", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	say := func(want string) {
		t.Helper()
		// A node has both families; the port is open in those of the Service.
		for _, ip := range pod.Status.HostIPs {
			if strings.Contains(ip.IP, ":") != slices.Contains(svc.Spec.IPFamilies, corev1.IPv6Protocol) && len(svc.Spec.IPFamilies) == 1 {
				continue
			}
			at := "http://" + net.JoinHostPort(ip.IP, fmt.Sprint(svc.Spec.HealthCheckNodePort)) + "/"
			cluster.Eventually(t, at, func() string {
				got, _ := l.Run("kubectl", "exec", "client", "--", "wget", "-O-", "-T", "5", at)
				if !strings.Contains(got, want) {
					return fmt.Sprintf("got %q, want %q", got, want)
				}
				return ""
			})
		}
	}
	say(`"localEndpoints": 1`)
	if err := l.Client.CoreV1().Pods("default").Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	say(" 503")
	if err := l.Client.CoreV1().Services("default").Delete(t.Context(), "balanced", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	say("onnection refused") // with or without a capital
}

// tryViews holds what kubectl prints of a Service against the object (A11, D4.7).
func tryViews(t *testing.T, l *lab, svc corev1.Service, pod *corev1.Pod) {
	spec := svc.Spec
	shown := spec.ClusterIP
	if got, want := l.fields(t, "get", "service", svc.Name, "--no-headers"), []string{svc.Name, "ClusterIP", shown, "<none>", "80/TCP"}; !slices.Equal(got[:5], want) {
		t.Errorf("get service %s: %v, want %v", svc.Name, got, want)
	}
	byFamily, port := map[corev1.IPFamily]string{}, spec.Ports[0].TargetPort.String()
	for _, ip := range pod.Status.PodIPs {
		f := corev1.IPv4Protocol
		if strings.Contains(ip.IP, ":") {
			f = corev1.IPv6Protocol
		}
		byFamily[f] = ip.IP
	}
	if spec.Selector["app"] != "web" {
		byFamily = nil
	}
	var endpoints, slicesWanted []string
	families := make([]string, len(spec.IPFamilies))
	for i, f := range spec.IPFamilies {
		families[i] = string(f)
		row := string(f) + " <unset> <unset>"
		if ip := byFamily[f]; ip != "" {
			row = string(f) + " " + port + " " + ip
			endpoints = append(endpoints, net.JoinHostPort(ip, port))
		}
		slicesWanted = append(slicesWanted, row)
	}
	slices.Sort(slicesWanted)
	cluster.Eventually(t, "slices of "+svc.Name, func() string {
		var got []string
		for line := range strings.Lines(l.Must(t, "kubectl", "get", "endpointslices", "-l", "kubernetes.io/service-name="+svc.Name, "--no-headers")) {
			got = append(got, strings.Join(strings.Fields(line)[1:4], " "))
		}
		slices.Sort(got)
		if !slices.Equal(got, slicesWanted) {
			return fmt.Sprintf("got %q, want %q", got, slicesWanted)
		}
		return ""
	})
	first := "<none>"
	if len(endpoints) > 0 {
		first = endpoints[0]
	}
	cluster.Eventually(t, "endpoints of "+svc.Name, func() string {
		if got := l.fields(t, "get", "endpoints", svc.Name, "--no-headers"); got[1] != first {
			return fmt.Sprintf("got %q, want %q", got, first)
		}
		return ""
	})
	describe(t, l, svc, families, endpoints)
}

func describe(t *testing.T, l *lab, svc corev1.Service, families, endpoints []string) {
	text := l.Must(t, "kubectl", "describe", "service", svc.Name)
	for name, want := range map[string]string{
		"Type": "ClusterIP", "IP Family Policy": string(*svc.Spec.IPFamilyPolicy), "IP Families": strings.Join(families, ","),
		"IP": svc.Spec.ClusterIP, "IPs": strings.Join(svc.Spec.ClusterIPs, ","), "Port": "http  80/TCP",
		"TargetPort": svc.Spec.Ports[0].TargetPort.String() + "/TCP", "Internal Traffic Policy": "Cluster", "Session Affinity": "None",
	} {
		if got := line(text, name); got != want {
			t.Errorf("describe service %s: %s is %q, want %q", svc.Name, name, got, want)
		}
	}
	got := strings.Split(line(text, "Endpoints"), ",")
	slices.Sort(got)
	want := append([]string{}, endpoints...)
	slices.Sort(want)
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("describe service %s: endpoints %q, want %q", svc.Name, got, want)
	}
}

// line is what a description says after a name and a colon.
func line(text, name string) string {
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `: *(.*)$`).FindStringSubmatch(text)
	if m == nil {
		return "(no such line)"
	}
	return m[1]
}

// fields are the words of the only line that kubectl prints; there are five at least.
func (l *lab) fields(t *testing.T, args ...string) []string {
	t.Helper()
	out := l.Must(t, append([]string{"kubectl"}, args...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return append(strings.Fields(lines[len(lines)-1]), make([]string, 5)...)
}

// background runs kubectl until the test ends, and returns what it says where the expression has its group.
func background(t *testing.T, l *lab, said *regexp.Regexp, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := l.Command(ctx, append([]string{"kubectl"}, args...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = c.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := said.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return m[1]
		}
	}
	_ = c.Wait()
	t.Fatalf("kubectl %v: %s", args, errs.String())
	return ""
}

// fetch returns the code and the body, or the message of a Status.
func fetch(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	text := string(body)
	if m := regexp.MustCompile(`"message": ?"((?:[^"\\]|\\.)*)"`).FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(m[1], `\"`, `"`)
	}
	return fmt.Sprint(answer.StatusCode, " ", text)
}
