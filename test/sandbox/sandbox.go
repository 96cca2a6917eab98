// Package sandbox runs the tests of a package in network, mount and PID namespaces and with a /run of
// their own: what they link, mount and start ends with the process. Only tests import it.
//
// A test binary begins with
//
//	func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) }
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const env = "DUET_TEST_SANDBOX" // set in the process that runs the tests

// Main runs the tests and returns the exit code. Without root it runs them where they are, and those
// that call [Need] are skipped.
func Main(m *testing.M) int {
	if os.Getenv(env) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			return 1
		}
	}
	if os.Getenv(env) != "" || os.Geteuid() != 0 {
		return m.Run()
	}
	self := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	self.Env = append(os.Environ(), env+"=1")
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}
	err := self.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	for kind, at := range map[string]string{"tmpfs": "/run", "proc": "/proc"} {
		if err := unix.Mount(kind, at, kind, 0, ""); err != nil {
			return err
		}
	}
	return exec.CommandContext(context.Background(), "ip", "link", "set", "lo", "up").Run()
}

// Need skips a test that is not in a sandbox.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(env) == "" {
		t.Skip("needs root, for namespaces")
	}
}

// Run runs a program, in a cleanup too, and returns what it prints; the test fails if the program does.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// IP runs ip(8) once for each line that is not empty.
func IP(t testing.TB, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) > 0 {
			Run(t, "ip", f...)
		}
	}
}
