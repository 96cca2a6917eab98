// Package sandbox gives tests network namespaces of their own, with no way out: only tests import it.
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

const env = "DUET_TEST_SANDBOX"

// Main runs a package's tests in a network namespace and with a /run of their own, for TestMain.
// Without root it runs them as they are.
func Main(m *testing.M) {
	if os.Getenv(env) != "" {
		err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		if err == nil {
			err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			os.Exit(1)
		}
	}
	if os.Getenv(env) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	self := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	self.Env = append(os.Environ(), env+"=1")
	self.Stdin, self.Stdout, self.Stderr = os.Stdin, os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := self.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

// Need skips the test outside of the namespace.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(env) == "" {
		t.Skip("needs root, for a network namespace")
	}
}

// Run runs a program and returns what it prints; also in a cleanup.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// IP runs each line of a script as the arguments of ip.
func IP(t testing.TB, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		if args := strings.Fields(line); len(args) > 0 {
			Run(t, "ip", args...)
		}
	}
}
