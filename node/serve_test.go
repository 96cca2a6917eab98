package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/node/internal/streams"
	"github.com/duetk8s/duet/test/eventually"
)

// nodeAPI is the node's own API over a real runtime, open to everybody.
type nodeAPI struct {
	*lab
	config *rest.Config
}

func newNodeAPI(t *testing.T) *nodeAPI {
	t.Helper()
	l := newLab(t)
	borrowed := httptest.NewUnstartedServer(nil) // only for its certificate
	borrowed.StartTLS()
	certificate := borrowed.TLS.Certificates[0]
	borrowed.Close()
	s := streams.New(streams.Config{
		NodeName: "node", Pods: l.pods, Runtime: service{l.box.dial(t)},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil },
		Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "test"}}, true, nil
		}),
		Authorizer: authorizerfactory.NewAlwaysAllowAuthorizer(),
	})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &nodeAPI{l, &rest.Config{Host: "https://" + listener.Addr().String(), TLSClientConfig: rest.TLSClientConfig{Insecure: true}}}
}

func (n *nodeAPI) url(path, query string) *url.URL {
	n.Helper()
	u, err := url.Parse(n.config.Host)
	if err != nil {
		n.Fatal(err)
	}
	u.Path, u.RawQuery = path, query
	return u
}

// exec runs a command in container c of a Pod as kubectl does.
func (n *nodeAPI) exec(pod, input string, terminal bool, command ...string) (output, errs string, err error) {
	n.Helper()
	q := url.Values{"command": command, "output": {"1"}}
	o := remotecommand.StreamOptions{Tty: terminal}
	var out, errors bytes.Buffer
	o.Stdout = &out
	if input != "" {
		q.Set("input", "1")
		o.Stdin = strings.NewReader(input)
	}
	if terminal {
		q.Set("tty", "1")
	} else {
		q.Set("error", "1")
		o.Stderr = &errors
	}
	e, err := remotecommand.NewSPDYExecutor(n.config, "POST", n.url("/exec/default/"+pod+"/c", q.Encode()))
	if err != nil {
		n.Fatal(err)
	}
	err = e.StreamWithContext(n.Context(), o)
	return out.String(), errors.String(), err
}

// logs opens a container's log.
func (n *nodeAPI) logs(pod, query string) *http.Response {
	n.Helper()
	client, err := rest.HTTPClientFor(n.config)
	if err != nil {
		n.Fatal(err)
	}
	r, err := http.NewRequestWithContext(n.Context(), "GET", n.url("/containerLogs/default/"+pod+"/c", query).String(), http.NoBody)
	if err != nil {
		n.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		n.Fatal(err)
	}
	return answer
}

func (n *nodeAPI) text(answer *http.Response) string {
	n.Helper()
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		n.Error(err)
	}
	return string(data)
}

func TestExecAndAttach(t *testing.T) {
	n := newNodeAPI(t)
	n.run("web", `trap "exit 0" TERM; while read line; do echo "heard $line"; done; sleep 1000 & wait`, func(p *corev1.Pod) { p.Spec.Containers[0].Stdin = true })
	n.until("web", "ready", ready)
	for _, tt := range []struct {
		name, input     string
		terminal        bool
		command         []string
		out, errs, fail string
	}{
		{name: "output", command: []string{"/bin/echo", "a b"}, out: "a b\n"},
		{name: "both streams", command: []string{"/bin/sh", "-c", "echo out; echo err >&2"}, out: "out\n", errs: "err\n"},
		{name: "input", input: "text", command: []string{"/bin/cat"}, out: "text"},
		{name: "exit code", command: []string{"/bin/sh", "-c", "exit 3"}, fail: "command terminated with exit code 3"},
		{name: "terminal", terminal: true, command: []string{"/bin/sh", "-c", "[ -t 1 ] && echo terminal"}, out: "terminal\r\n"},
		{name: "a megabyte", command: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero"}, out: string(make([]byte, 1000000))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, err := n.exec("web", tt.input, tt.terminal, tt.command...)
			if out != tt.out || errs != tt.errs || fmt.Sprint(err) != fmt.Sprint(errorOf(tt.fail)) {
				t.Errorf("got %.80q, %q, %v", out, errs, err)
			}
		})
	}
	if _, _, err := n.exec("web", "", false, "/bin/absent"); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("a missing command: %v", err)
	}

	e, err := remotecommand.NewSPDYExecutor(n.config, "POST", n.url("/attach/default/web/c", "input=1&output=1&error=1"))
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	got, out := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: io.Discard})
	}()
	fmt.Fprintln(feed, "me")
	if line, err := bufio.NewReader(got).ReadString('\n'); line != "heard me\n" {
		t.Errorf("attached: %q, %v", line, err)
	}
	cancel()
	<-done
	n.mark("web", 1)
	n.until("web", "gone", gone)
	n.empty()
}

type errorOf string

func (e errorOf) String() string {
	if e == "" {
		return "<nil>"
	}
	return string(e)
}

func TestLogs(t *testing.T) {
	n := newNodeAPI(t)
	n.run("talk", `i=0; n=0; while [ "$n" != end ]; do [ -e /tmp/n ] && read n </tmp/n; if [ "$n" -gt $i ] 2>/dev/null; then i=$n; echo "line $i"; fi; sleep 0.02; done; echo last; printf unfinished`,
		func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	n.until("talk", "ready", ready)
	say := func(what any) {
		if _, errs, err := n.exec("talk", "", false, "/bin/sh", "-c", fmt.Sprintf("echo %v >/tmp/n", what)); err != nil {
			t.Fatal(errs, err)
		}
	}
	followed := n.logs("talk", "follow=true")
	lines := bufio.NewReader(followed.Body)
	for i := range 3 {
		say(i + 1)
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("line %d\n", i+1) {
			t.Errorf("followed: %q, %v", line, err)
		}
	}
	// The runtime dies and comes back: whoever follows goes on.
	n.box.kill(t)
	n.box.start(t)
	n.box.dial(t)
	time.Sleep(300 * time.Millisecond)
	say(4)
	if line, err := lines.ReadString('\n'); line != "line 4\n" {
		t.Errorf("after the runtime's restart: %q, %v", line, err)
	}
	say("end")
	ended := time.Now()
	rest, err := io.ReadAll(lines)
	if string(rest) != "last\nunfinished" && string(rest) != "last\nunfinished\n" || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
	followed.Body.Close()
	t.Logf("following ended %v after the container was told to end", time.Since(ended))
	n.until("talk", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	if got := n.text(n.logs("talk", "tailLines=2")); !strings.HasPrefix(got, "last\nunfinished") {
		t.Errorf("tail: %q", got)
	}
	if got := n.text(n.logs("talk", "follow=true&tailLines=3&limitBytes=6")); got != "line 4" {
		t.Errorf("following what has ended: %q", got)
	}
	n.mark("talk", 1)
	n.until("talk", "gone", gone)
}

func TestPreviousLog(t *testing.T) {
	n := newNodeAPI(t)
	n.run("twice", `if [ -e /data/once ]; then echo second; sleep 1000; fi; echo 1 >/data/once; echo first`, func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	n.until("twice", "restarted", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	for query, want := range map[string]string{"": "second\n", "previous=true": "first\n"} {
		eventually.Is(t, 2*time.Second, query, func() string { return n.text(n.logs("twice", query)) }, want)
	}
	n.run("absent", "", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent:1", corev1.PullNever
	})
	n.until("absent", "refused", waiting("ErrImageNeverPull"))
	if got, want := n.text(n.logs("absent", "")), `container "c" in pod "absent" is waiting to start: ErrImageNeverPull`; strings.TrimSpace(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, name := range []string{"twice", "absent"} {
		n.mark(name, 1)
		n.until(name, "gone", gone)
	}
}

// listenInPod opens a listener in the network namespace of a Pod.
func (n *nodeAPI) listenInPod(pod, network, address string) (listener net.Listener) {
	n.Helper()
	found, _ := n.pods.Pod("default", pod)
	sandbox, _ := n.pods.Sandbox(found.UID)
	namespace, err := n.box.dial(n.T).NetworkNamespace(n.Context(), sandbox)
	if err != nil || namespace == "" {
		n.Fatalf("network namespace of the Pod: %q, %v", namespace, err)
	}
	err = hostnet.Within(namespace, func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(n.Context(), network, address)
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	return listener
}

// Whoever listens in one family only is reached, too.
func TestPortForward(t *testing.T) {
	n := newNodeAPI(t)
	n.run("web", forever, nil)
	n.until("web", "ready", ready)
	for _, family := range []string{"tcp4", "tcp6"} {
		t.Run(family, func(t *testing.T) {
			address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[family]
			listener := n.listenInPod("web", family, address)
			var group sync.WaitGroup
			defer group.Wait()
			defer listener.Close()
			group.Go(func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.Copy(conn, conn)
					conn.Close()
				}
			})
			transport, upgrader, err := spdy.RoundTripperFor(n.config)
			if err != nil {
				t.Fatal(err)
			}
			dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", n.url("/portForward/default/web", ""))
			stop, up := make(chan struct{}), make(chan struct{})
			port := listener.Addr().(*net.TCPAddr).Port
			forwarder, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", port)}, stop, up, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- forwarder.ForwardPorts() }()
			<-up
			ports, err := forwarder.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(conn, "hello")
			if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
				t.Errorf("got %q, %v", line, err)
			}
			conn.Close()
			close(stop)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	n.mark("web", 1)
	n.until("web", "gone", gone)
}
