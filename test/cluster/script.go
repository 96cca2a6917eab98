package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Kubectl is how stories call the bundled kubectl, as a process of its own.
type Kubectl struct {
	Program string        // duet
	Home    string        // kubectl keeps what it discovered there
	Within  time.Duration // how long `within` tries, and any one call may take if that is longer
	Pause   time.Duration // between two tries
	// Steady makes an output the same in every run; nil leaves it.
	Steady func(ts *testscript.TestScript, text string) string
}

// StoryNamespace is the namespace of a story, from its file's name.
func StoryNamespace(e *testscript.Env) string {
	name := strings.NewReplacer("_", "-", ".", "-").Replace(filepath.Base(e.WorkDir))
	return strings.TrimPrefix(name, "script-")
}

// Setup puts kubectl, with arguments that every call has, into the story's PATH, and its namespace
// into $NS.
func (k Kubectl) Setup(e *testscript.Env, always ...string) error {
	bin := filepath.Join(e.WorkDir, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	// It is gone before its memory is worth collecting.
	wrapper := fmt.Sprintf("#!/bin/sh\nGOGC=off exec %s kubectl %s \"$@\"\n", k.Program, strings.Join(always, " "))
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(wrapper), 0o755); err != nil {
		return err
	}
	e.Setenv("HOME", k.Home)
	e.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	e.Setenv("NS", StoryNamespace(e))
	e.Setenv("TZ", "UTC")
	e.Setenv("LC_ALL", "C")
	return nil
}

// Commands of stories:
//
//	kubectl ARGS                  the bundled kubectl; ! if it must fail
//	within REGEXP kubectl ARGS    the same again and again until it succeeds and prints that
//	capture NAME kubectl ARGS     what it prints, as it is, becomes the variable $NAME
func (k Kubectl) Commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){"kubectl": k.kubectl, "within": k.within, "capture": k.capture}
}

// Run runs in the story's folder and returns what was printed.
func (k Kubectl) Run(ts *testscript.TestScript, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), max(k.Within, 40*time.Second))
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(ts.MkAbs(".bin"), "kubectl"), args...)
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "KUBECONFIG", "TZ", "LC_ALL", "TERM", "EDITOR", "TMPDIR"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

func (k Kubectl) show(ts *testscript.TestScript, stdout, stderr string) {
	if k.Steady != nil {
		stdout, stderr = k.Steady(ts, stdout), k.Steady(ts, stderr)
	}
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
}

func (k Kubectl) kubectl(ts *testscript.TestScript, neg bool, args []string) {
	stdout, stderr, err := k.Run(ts, args...)
	k.show(ts, stdout, stderr)
	if failed := err != nil; failed != neg {
		ts.Fatalf("kubectl %s: %v, want failure: %t", strings.Join(args, " "), err, neg)
	}
}

func (k Kubectl) within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: within REGEXP kubectl ARGS")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(k.Within); ; time.Sleep(k.Pause) {
		stdout, stderr, err := k.Run(ts, args[2:]...)
		if err == nil && want.MatchString(stdout) {
			k.show(ts, stdout, "")
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not within %s; last: %v\n%s%s", k.Within, err, stdout, stderr)
		}
	}
}

func (k Kubectl) capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "kubectl" {
		ts.Fatalf("usage: capture NAME kubectl ARGS")
	}
	stdout, stderr, err := k.Run(ts, args[2:]...)
	if err != nil {
		ts.Fatalf("%v: %s", err, stderr)
	}
	ts.Setenv(args[0], strings.TrimSpace(stdout))
}
