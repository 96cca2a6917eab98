package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
)

// readyTimeout is how long a server may take until it reports; it needs a fraction of a second.
const readyTimeout = 2 * time.Minute

// Ready is what a server writes to the descriptor --ready-fd when it serves. Anything else it
// writes there is the reason why it does not, in one line.
const Ready = "ready\n"

// Descriptors that a started server inherits, by number.
const (
	fdListener = 3 + iota // the API's socket on 127.0.0.1 of the host's namespace
	fdReady               // write end of a pipe, see Ready
	fdLock                // the lock on the data directory
	fdHost                // the host's network namespace; only with an uplink
)

// listenOnHost opens the API's socket. The kernel picks a port if none is remembered.
func listenOnHost(port uint16) (*net.TCPListener, error) {
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use by another program; stop it, or take a free port with --port 0", at)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return l, nil
}

func portOf(l *net.TCPListener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// resolvConf is whom the host asks for names. With an uplink the server asks them too, through
// sockets in the host's own namespace: they may be on its loopback, as systemd-resolved is.
const resolvConf = "/etc/resolv.conf"

// serverArgs are the flags of the server of a cluster. --data-dir comes first: see serverDir.
func serverArgs(dir string, s Settings) []string {
	args := []string{
		"server", option("data-dir", dir), option("name", s.Name),
		option("service-cidr", commas(s.ServiceCIDRs)), option("pod-cidr", commas(s.PodCIDRs)),
		option("listen", "[::]:6443"), option("listen-fd", fdListener),
		option("advertise", commas(addrs(numbered(numberControl)))), option("load-balancer-pool", commas(loadBalancerPool)),
		option("ready-fd", fdReady), option("lock-fd", fdLock),
	}
	if s.ExternalIPs {
		args = append(args, "--allow-external-ips")
	}
	if s.Uplink {
		return append(args, option("resolv-conf", resolvConf), option("resolv-netns-fd", fdHost))
	}
	return append(args, option("resolv-conf", ""))
}

// commas writes a list as flags take it.
func commas[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ",")
}

// start runs the server in the control namespace, detached from our terminal, and waits until it
// reports. If the server does not get ready it has been stopped.
func (l *Lab) start(ctx context.Context, dir string, s Settings, listener *net.TCPListener, lock *Lock) error {
	log, err := openLog(filepath.Join(dir, logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	socket, err := listener.File()
	if err != nil {
		return fmt.Errorf("hand over the listening socket: %w", err)
	}
	defer socket.Close()
	report, ready, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer report.Close()
	defer ready.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()

	files := []*os.File{null, log, log, fdListener: socket, fdReady: ready, fdLock: lock.File}
	if s.Uplink {
		host, err := hostnet.Open()
		if err != nil {
			return fmt.Errorf("hand over the host's network: %w", err)
		}
		defer host.Close()
		files = append(files, host)
	}

	logged, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var process *os.Process
	err = within(namespaceName(s.Name, memberControl), func() error {
		process, err = os.StartProcess(l.Program[0], slices.Concat(l.Program, serverArgs(dir, s)), &os.ProcAttr{
			Dir: "/", Env: os.Environ(),
			Files: files,
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	defer process.Release()
	ready.Close()
	err = lock.SetPID(process.Pid)
	if err == nil {
		err = awaitReady(ctx, report, dir, logged)
	}
	if err != nil {
		stopped := stopProcess(process.Pid, stopGrace, func() bool { return true }) // our child: the pid is ours until we wait for it
		_, waited := process.Wait()
		return errors.Join(fmt.Errorf("start the control plane of cluster %q: %w", s.Name, err), stopped, waited)
	}
	return nil
}

// awaitReady reads the server's report: the pipe ends when the server has written it or has died.
func awaitReady(ctx context.Context, report *os.File, dir string, logged int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not ready after %s", readyTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Now()) })
	defer stop()
	said, err := io.ReadAll(report)
	where := filepath.Join(dir, logFile)
	switch {
	case string(said) == Ready:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w; see %s", interruption(ctx), where)
	case err != nil:
		return err
	case len(said) > 0:
		return fmt.Errorf("%s; see %s", strings.TrimSpace(string(said)), where)
	}
	return fmt.Errorf("the server ended at once, and its log says %q; see %s", tellingLine(where, logged), where)
}

// interruption is why a wait has ended early.
func interruption(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return errors.New("interrupted")
}

const logFile = "logs/server.log"

// maxLog is the size from which on a start puts a log aside, server.log as server.log.1.
const maxLog = 16 << 20

func openLog(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, fmt.Errorf("put the old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// tellingLine returns the line, of those written to a log after the offset, that tells best why the
// program ended: a panic's, or the last.
func tellingLine(name string, offset int64) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ") {
			return l
		}
	}
	return lines[len(lines)-1]
}
