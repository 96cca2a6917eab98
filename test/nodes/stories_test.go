package nodes

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs what users type, one file for each subject.
func TestStories(t *testing.T) { newLab(t, "--nodes", "2").tell(t, "testdata") }

// TestStacks runs the stories of testdata/stacks in clusters of either family, and of both in both
// orders.
func TestStacks(t *testing.T) {
	const services4, services6, pods4, pods6 = "10.96.0.0/16", "fd00:10:96::/112", "10.244.0.0/16", "fd00:10:244::/56"
	for _, stack := range []struct{ name, services, pods string }{
		{"v4", services4, pods4},
		{"v6", services6, pods6},
		{"v4v6", services4 + "," + services6, pods4 + "," + pods6},
		{"v6v4", services6 + "," + services4, pods6 + "," + pods4},
	} {
		t.Run(stack.name, func(t *testing.T) {
			newLab(t, "--nodes", "1", "--service-cidr", stack.services, "--pod-cidr", stack.pods).tell(t, "testdata/stacks")
		})
	}
}

// tell runs all stories of a folder.
func (l *lab) tell(t *testing.T, dir string) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"kubectl": l.cmdKubectl, "within": l.cmdWithin, "capture": l.cmdCapture, "has": cmdHas, "typed": l.cmdTyped,
	}
	maps.Copy(commands, l.commands)
	testscript.Run(t, testscript.Params{
		Dir: dir, Cmds: commands,
		Setup: func(e *testscript.Env) error {
			name := strings.NewReplacer("_", "-", ".", "-").Replace(filepath.Base(e.WorkDir))
			ns := strings.TrimPrefix(name, "script-")
			bin := filepath.Join(e.WorkDir, ".bin")
			if err := os.MkdirAll(bin, 0o755); err != nil {
				return err
			}
			wrapper := fmt.Sprintf("#!/bin/sh\nexec %s kubectl --namespace %s \"$@\"\n", program(), ns)
			if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(wrapper), 0o755); err != nil {
				return err
			}
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
			e.Setenv("HOME", l.home)
			e.Setenv("KUBECONFIG", l.kubeconfig)
			e.Setenv("NS", ns)
			e.Setenv("TZ", "UTC")
			e.Setenv("LC_ALL", "C")
			e.Setenv("TERM", "xterm")
			if out, err := l.run("kubectl", "create", "namespace", ns); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	})
}

// kubectl runs in the story's folder and namespace and returns what it printed.
func kubectl(ts *testscript.TestScript, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(ts.MkAbs(".bin"), "kubectl"), args...)
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "KUBECONFIG", "TZ", "LC_ALL", "TERM"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// kubectl ARGS: the bundled kubectl; ! if it must fail.
func (l *lab) cmdKubectl(ts *testscript.TestScript, neg bool, args []string) {
	stdout, stderr, err := kubectl(ts, args...)
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	if failed := err != nil; failed != neg {
		ts.Fatalf("kubectl %s: %v, want failure: %t", strings.Join(args, " "), err, neg)
	}
}

// within REGEXP kubectl ARGS: the same again and again until it succeeds and prints that.
func (l *lab) cmdWithin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: within REGEXP kubectl ARGS")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		stdout, stderr, err := kubectl(ts, args[2:]...)
		if err == nil && want.MatchString(stdout) {
			fmt.Fprint(ts.Stdout(), stdout)
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not within %s; last: %v\n%s%s", patience, err, stdout, stderr)
		}
	}
}

// capture NAME kubectl ARGS: what it prints becomes the variable $NAME.
func (l *lab) cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: capture NAME kubectl ARGS")
	}
	stdout, stderr, err := kubectl(ts, args[2:]...)
	if err != nil {
		ts.Fatalf("%v: %s", err, stderr)
	}
	ts.Setenv(args[0], strings.TrimSpace(stdout))
}

// typed TEXT kubectl ARGS: the command on a terminal of its own (script of util-linux), where
// somebody types the text; prints what the terminal shows.
func (l *lab) cmdTyped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: typed TEXT kubectl ARGS")
	}
	quoted := make([]string, 0, len(args))
	for _, arg := range args[1:] {
		quoted = append(quoted, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "script", "--quiet", "--return", "--command", strings.Join(quoted, " "), "/dev/null")
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "KUBECONFIG", "TERM"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	c.Env = append(c.Env, "SHELL=/bin/sh")
	c.Stdin = strings.NewReader(strings.ReplaceAll(args[0], `\n`, "\n"))
	out, err := c.CombinedOutput()
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(string(out), "\r", ""))
	if err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
}

// has WORD...: the last output has every word somewhere.
func cmdHas(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile("stdout")
	missing := slices.DeleteFunc(slices.Clone(args), func(word string) bool { return strings.Contains(text, word) })
	if neg || len(missing) > 0 {
		ts.Fatalf("no %q in\n%s", missing, text)
	}
}
