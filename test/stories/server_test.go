package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// server is a `duet server` in the foreground of its own data directory and port.
type server struct {
	dir, kubeconfig string
	config          *rest.Config
	process         *exec.Cmd
	log             bytes.Buffer
	ended           chan struct{}
}

// newServer starts a server in dir and returns when it is ready.
func newServer(dir string, flags ...string) (*server, error) {
	s := &server{dir: filepath.Join(dir, "data"), ended: make(chan struct{})}
	s.kubeconfig = filepath.Join(s.dir, "kubeconfig")
	address, err := freePort()
	if err != nil {
		return nil, err
	}
	ready, report, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	args := append([]string{"server", "--data-dir", s.dir, "--listen", address, "--ready-fd", "3"}, flags...)
	s.process = exec.CommandContext(context.Background(), duet, args...)
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	s.process.ExtraFiles = []*os.File{report}
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", duet, err)
	}
	report.Close()
	go func() { _ = s.process.Wait(); close(s.ended) }()
	if err := ready.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	said, err := io.ReadAll(ready)
	if err == nil && string(said) != "ready\n" {
		err = fmt.Errorf("it said %q", said)
	}
	if err == nil {
		s.config, err = clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start duet server %v: %w; its log:\n%s", flags, err, s.log.String())
	}
	s.config.QPS = -1
	return s, nil
}

// stop ends the server as Ctrl-C would, and returns how it ended.
func (s *server) stop() error {
	_ = s.process.Process.Signal(syscall.SIGINT)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		_ = s.process.Process.Kill()
		<-s.ended
		return errors.New("the server did not stop within 20 s")
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server ended with %d; its log:\n%s", code, s.log.String())
	}
	return nil
}

// client is an HTTP client of the server: the admin, or nobody if anonymous.
func (s *server) client(anonymous bool) (*http.Client, error) {
	config := rest.CopyConfig(s.config)
	if anonymous {
		config = rest.AnonymousClientConfig(config)
	}
	return rest.HTTPClientFor(config)
}

func freePort() (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
