package nodes

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/duetk8s/duet/test/cluster"
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
	kubectl := cluster.Kubectl{Program: cluster.Program(), Home: l.Home, Within: cluster.Patience, Pause: 200 * time.Millisecond}
	commands := kubectl.Commands()
	commands["has"], commands["typed"] = cmdHas, cmdTyped
	maps.Copy(commands, l.commands)
	testscript.Run(t, testscript.Params{
		Dir: dir, Cmds: commands,
		Setup: func(e *testscript.Env) error {
			ns := cluster.StoryNamespace(e)
			if err := kubectl.Setup(e, "--namespace", ns); err != nil {
				return err
			}
			e.Setenv("KUBECONFIG", l.Kubeconfig)
			e.Setenv("TERM", "xterm")
			if out, err := l.Run("kubectl", "create", "namespace", ns); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	})
}

// typed TEXT kubectl ARGS: the command on a terminal of its own (script of util-linux), where
// somebody types the text; prints what the terminal shows.
func cmdTyped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: typed TEXT kubectl ARGS")
	}
	quoted := make([]string, 0, len(args))
	for _, arg := range args[1:] {
		quoted = append(quoted, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Patience)
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
