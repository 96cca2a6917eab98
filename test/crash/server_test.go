package crash

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Small ranges, so that clients fight over addresses and ports, and automatic picks run full.
const (
	serviceCIDR = "10.96.0.0/24,fd00:10:96::/120"
	nodePorts   = "30000-30127"
)

const (
	patience = 30 * time.Second // for what takes a fraction of a second on an idle machine
	glance   = 10 * time.Millisecond
)

// server is one `duet server` process after another on the same data directory and port.
type server struct {
	binary, dir, addr string
	log               string // file; all processes append to it
	logged            int64  // its size when the last one started
	cmd               *exec.Cmd
	ended             chan struct{} // closed when cmd is gone
}

func newServer(t *testing.T, dir string) *server {
	t.Helper()
	s := &server{binary: binary(t), dir: dir, addr: freeAddr(t), log: filepath.Join(t.TempDir(), "server.log")}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("what the servers logged, but for information:\n%s", s.complaints())
		}
	})
	return s
}

// start starts a process; it may not be ready, or dead, when this returns.
func (s *server) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if s.logged, err = log.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), s.binary, "server", "--data-dir", s.dir, "--listen", s.addr,
		"--advertise", "192.0.2.10,2001:db8::10", "--service-cidr", serviceCIDR, "--service-node-port-range", nodePorts)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // what it said is in ProcessState
		close(ended)
	}(s.cmd, s.ended)
}

// awaitReady returns when /readyz says ok.
func (s *server) awaitReady(t *testing.T) {
	t.Helper()
	probe := http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, //nolint:gosec // asks for ok, sends nothing
	}}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(glance) {
		if !s.runs() {
			t.Fatalf("server ended with %v before it was ready", s.cmd.ProcessState)
		}
		resp, err := probe.Get("https://" + s.addr + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("server is not ready after", patience)
}

func (s *server) runs() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// kill sends SIGKILL and waits; a server that never ran or is dead already is fine.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // fails only if it is dead
	<-s.ended
}

// stop sends SIGTERM and wants exit code 0.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// exitCode waits until the process ends by itself.
func (s *server) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("server still runs after", patience)
	}
	return s.cmd.ProcessState.ExitCode()
}

// said is the error that the last process ended with; "" if it said none. Others may have logged after.
func (s *server) said(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for line := range strings.Lines(string(log[s.logged:])) {
		if strings.HasPrefix(line, "duet: ") {
			said = strings.TrimSpace(line)
		}
	}
	return said
}

// complaints are the last lines of the log that are worth a look.
func (s *server) complaints() []byte {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return []byte(err.Error())
	}
	var out []byte
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, []byte(" level=INFO ")) {
			out = append(out, line...)
		}
	}
	return out[max(0, len(out)-8000):]
}

// freeAddr has a port below those that the kernel gives to connections: the server is away now and
// then, and none may take it meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// binary is the program under test: $DUET, or bin/duet of this repository if no source is newer,
// or one built now.
func binary(t *testing.T) string {
	t.Helper()
	if file := os.Getenv("DUET"); file != "" {
		return file
	}
	file, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

var built = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	file := filepath.Join(root, "bin", "duet")
	fresh, err := newerThanSources(file, root)
	if fresh || err != nil {
		return file, err
	}
	file = filepath.Join(root, "build", "duet-crash")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-buildvcs=false", "-o", file, "./cmd/duet")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build duet: %w\n%s", err, out)
	}
	return file, nil
})

// newerThanSources looks at what a build reads: Go files that are no tests, and go.mod.
func newerThanSources(file, root string) (bool, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fresh := true
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (strings.HasPrefix(e.Name(), ".") || e.Name() == "build" || e.Name() == "tools") {
			return fs.SkipDir
		}
		source := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") || e.Name() == "go.mod" || strings.HasSuffix(path, ".gz")
		if !source {
			return nil
		}
		i, err := e.Info()
		if err == nil && i.ModTime().After(info.ModTime()) {
			fresh = false
			return fs.SkipAll
		}
		return err
	})
	return fresh, err
}
