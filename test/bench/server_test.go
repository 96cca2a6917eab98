// Package bench_test measures the real program: bin/duet serving on loopback, with data directories
// that are thrown away. `make bench` builds and runs it; docs/benchmarks.md says how to read it.
//
// Every benchmark measures what it compares in turns within one run, so that a machine that is busy
// with something else slows both sides. Beside the times, each reports the processor time (user and
// system) that the server spent: that depends least on what else the machine does.
package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/test/cluster"
)

var profiles = flag.String("profiles", "", "folder for CPU and heap profiles of the server; taking them costs a few percent")

// server is a running `duet server`.
type server struct {
	dir     string
	command *exec.Cmd
	report  *os.File
	started time.Time
}

// stacks are the Service ranges by what the cluster then is.
var stacks = map[string]string{"single": "10.96.0.0/16", "dual": "10.96.0.0/16,fd00:10:96::/112"}

// launch executes the server on a data directory and returns at once.
func launch(b *testing.B, dir, stack string) *server {
	b.Helper()
	path := cluster.Program()
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%v; run make build first", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	report, ready, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer ready.Close()
	s := &server{dir: dir, report: report}
	// The addresses to advertise are of those for documentation: nothing dials them.
	s.command = exec.Command(path, "server", "--data-dir", dir, "--listen", "127.0.0.1:0",
		"--advertise", "192.0.2.10,2001:db8::10", "--service-cidr", stacks[stack], "--ready-fd", "3")
	s.command.Stderr, s.command.ExtraFiles = log, []*os.File{ready}
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.started = time.Now()
	if err := s.command.Start(); err != nil {
		b.Fatal(err)
	}
	return s
}

// awaitReady returns the time from exec until the server said that /readyz is ok.
func (s *server) awaitReady(b *testing.B) time.Duration {
	b.Helper()
	said, err := io.ReadAll(s.report)
	took := time.Since(s.started)
	s.report.Close()
	if err != nil || string(said) != "ready\n" {
		s.stop(b)
		b.Fatalf("the server said %q, %v; its log is in %s", said, err, s.dir)
	}
	return took
}

func (s *server) stop(b *testing.B) {
	b.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.Error(err)
	}
	if err := s.command.Wait(); err != nil {
		b.Errorf("server: %v", err)
	}
}

// serve runs a server until the benchmark ends.
func serve(b *testing.B, stack string) *server {
	b.Helper()
	s := launch(b, b.TempDir(), stack)
	s.awaitReady(b)
	b.Cleanup(func() { s.stop(b) })
	return s
}

// client is one user: it has a connection of its own.
func (s *server) client(b *testing.B) *clientset.Clientset {
	b.Helper()
	return connect(b, filepath.Join(s.dir, "kubeconfig"))
}

// connect makes a client with a connection of its own.
func connect(b *testing.B, kubeconfig string) *clientset.Clientset {
	b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		b.Fatal(err)
	}
	config.QPS = -1
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	config.Dial = (&net.Dialer{}).DialContext // client-go shares connections among equal configurations
	config.WarningHandler = rest.NoWarnings{}
	c, err := clientset.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (s *server) clients(b *testing.B, n int) []*clientset.Clientset {
	b.Helper()
	all := make([]*clientset.Clientset, n)
	for i := range all {
		all[i] = s.client(b)
	}
	return all
}

func (s *server) cpu(b *testing.B) time.Duration {
	b.Helper()
	return process(s.command.Process.Pid).cpu(b)
}

func (s *server) memory(b *testing.B, what string) float64 {
	b.Helper()
	return process(s.command.Process.Pid).memory(b, what)
}

// process is one by its number.
type process int

// cpu is the processor time that it has used, in user and system mode. The kernel counts it in
// hundredths of a second.
func (p process) cpu(b *testing.B) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		b.Fatal(err)
	}
	// 4711 (duet) S 1 … : utime and stime are the 14th and 15th field
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// memory is a line of /proc/PID/status in bytes, for example VmRSS.
func (p process) memory(b *testing.B, what string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, what+":"); ok { // VmRSS:   112764 kB
			n, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return n * 1024
		}
	}
	b.Fatalf("no %s in /proc/PID/status", what)
	return 0
}

// profile saves what the server's profiler says, if wanted; the returned function waits for it.
func (s *server) profile(b *testing.B, what, name string, seconds int) (wait func()) {
	b.Helper()
	if *profiles == "" {
		return func() {}
	}
	client := s.client(b)
	done := make(chan error, 1)
	go func() {
		request := client.Discovery().RESTClient().Get().AbsPath("/debug/pprof", what)
		if seconds > 0 {
			request.Param("seconds", strconv.Itoa(seconds))
		}
		data, err := request.DoRaw(context.Background())
		if err == nil {
			err = os.WriteFile(filepath.Join(*profiles, name), data, 0o600)
		}
		done <- err
	}()
	return func() {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}
