package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/duetk8s/duet/node/internal/container"
)

// maxOutput is how much of what a command or server says is kept.
const maxOutput = 10 << 10

type outcome int

const (
	unknown outcome = iota // the question could not be put
	passed
	failed
)

// answer is what one attempt found. text is a failure's cause, the error where nothing is known, or
// a warning about something that passed.
type answer struct {
	outcome outcome
	text    string
}

// event is how users hear of an answer.
func (a answer) event(kind Kind) (reason, message string) {
	switch {
	case a.outcome == failed:
		return reasonUnhealthy, fmt.Sprintf("%s probe failed: %s", kind, a.text)
	case a.outcome == unknown:
		return reasonUnhealthy, fmt.Sprintf("%s probe errored and resulted in unknown state: %s", kind, a.text)
	case a.text != "":
		return reasonWarning, fmt.Sprintf("%s probe warning: %s", kind, a.text)
	}
	return "", ""
}

// ask puts the question once.
func (w *worker) ask(ctx context.Context) answer {
	timeout := seconds(w.probe.TimeoutSeconds, 1)
	switch {
	case w.probe.Exec != nil:
		return w.askExec(ctx, w.probe.Exec.Command, timeout)
	case w.probe.HTTPGet != nil:
		return askHTTP(ctx, w.target, w.probe.HTTPGet, timeout)
	case w.probe.TCPSocket != nil:
		host, port, err := w.target.address(w.probe.TCPSocket.Host, w.probe.TCPSocket.Port)
		if err != nil {
			return answer{unknown, err.Error()}
		}
		return askTCP(ctx, net.JoinHostPort(host, port), timeout)
	case w.probe.GRPC != nil:
		host, port, err := w.target.address("", intstr.FromInt32(w.probe.GRPC.Port))
		if err != nil {
			return answer{unknown, err.Error()}
		}
		service := ""
		if w.probe.GRPC.Service != nil {
			service = *w.probe.GRPC.Service
		}
		return askGRPC(ctx, net.JoinHostPort(host, port), service, timeout)
	}
	return answer{unknown, fmt.Sprintf("missing probe handler for %s:%s", w.target.id(), w.target.Container.Name)}
}

func (w *worker) askExec(ctx context.Context, command []string, timeout time.Duration) answer {
	command = w.target.expand(command)
	output, code, err := w.cfg.Exec(ctx, w.target.ContainerID, command, timeout)
	switch {
	case timedOut(err):
		return answer{failed, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)}
	case err != nil:
		return answer{unknown, err.Error()}
	case code != 0:
		return answer{failed, string(output[:min(len(output), maxOutput)])}
	}
	return answer{outcome: passed}
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || err != nil && status.Code(err) == codes.DeadlineExceeded
}

func askTCP(ctx context.Context, addr string, timeout time.Duration) answer {
	d := dialer()
	d.Timeout = timeout
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return answer{failed, err.Error()}
	}
	conn.Close()
	return answer{outcome: passed}
}

// dialer makes connections that are reset when closed: thousands of probes would otherwise leave
// thousands of ports waiting.
func dialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Where it fails, the connection still works.
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1})
		})
	}}
}

// expand replaces the variables that the container's spec itself gives values to.
func (t *Target) expand(command []string) []string {
	env := map[string]string{}
	for _, v := range t.Container.Env {
		if v.ValueFrom == nil {
			env[v.Name] = v.Value
		}
	}
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = container.Expand(word, env)
	}
	return out
}

// address returns where to ask: the Pod's first address unless another host is named, and the port,
// which may be one of the container's by name.
func (t *Target) address(host string, port intstr.IntOrString) (h, p string, err error) {
	if host == "" {
		if len(t.IPs) == 0 {
			return "", "", fmt.Errorf("pod %s has no address yet", t.id())
		}
		host = t.IPs[0].String()
	}
	// A literal in brackets, as in URLs, is the same host.
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]")); err == nil {
			host = addr.String()
		}
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, c := range t.Container.Ports {
			if c.Name == port.StrVal {
				number = int(c.ContainerPort)
			}
		}
	}
	if number <= 0 || number > 65535 {
		return "", "", fmt.Errorf("invalid port number: %s", port.String())
	}
	return host, strconv.Itoa(number), nil
}

// id names a Pod as logs and errors do.
func (t *Target) id() string { return id(t.Pod) }

func id(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
