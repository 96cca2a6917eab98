// Package cli is the command line of duet: one file per verb, which turns flags into the
// configuration of package lab or assemble and prints what comes back. It decides nothing else.
//
// Errors are one line: what failed, on what, why, and what to do. Exit codes are 0 (fine), 1
// (failed) and 2 (wrong usage). Only cmd/duet imports it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/lab"
)

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Program is one call of duet, as a value.
type Program struct {
	Args           []string // without the program's name
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Main runs the program and returns its exit code. The first interrupt or SIGTERM ends the context
// of a verb, for a clean end; the second ends the process.
func Main(ctx context.Context, p Program) int {
	if args, ok := forKubectl(p.Args); ok {
		return kubectl(args)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := p.root()
	root.SetArgs(p.Args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitFine
	}
	fmt.Fprintln(p.Stderr, "duet: "+oneLine(err))
	if isUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// root puts the verbs together. Nothing heavy happens here: every call of duet comes by.
func (p Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "duet",
		Short: "A Kubernetes-compatible cluster for IPv4 and IPv6 in one program",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },

		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		p.upCommand(), p.downCommand(), p.statusCommand(),
		p.serverCommand(), p.nodeCommand(), p.boxCommand(), p.imageCommand(), p.tokenCommand(),
		kubectlCommand(), p.versionCommand(),
	)
	checkArgs(root)
	return root
}

// usageError is an error of the one who typed the command.
type usageError struct{ error }

func isUsage(err error) bool {
	return errors.As(err, new(usageError)) || errors.As(err, new(*lab.FlagError))
}

// checkArgs makes a wrong number of arguments, or an unknown verb, wrong usage, for c and all below.
func checkArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n") // the rest guesses what was meant
			return usageError{fmt.Errorf("%s; see `%s --help`", first, c.CommandPath())}
		}
		return nil
	}
}

// flagError words what the flag parser has to say.
func flagError(c *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if !errors.As(err, &value) {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	}
	want := map[string]string{
		"bool": "want true or false", "int": "want a whole number, e.g. 2", "uint16": "want a number from 0 to 65535",
	}[value.GetFlag().Value.Type()]
	if want == "" {
		want = "see `" + c.CommandPath() + " --help`"
	}
	return &lab.FlagError{Flag: "--" + value.GetFlag().Name, Value: value.GetValue(), Problem: "not a value of this flag", Want: want}
}

// oneLine joins what errors.Join and nested messages have put on lines of their own.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}
