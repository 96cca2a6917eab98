package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/duetk8s/duet/lab"
)

// output is the flag --output of the verbs whose answer a script may want to read.
type output string

func (o *output) addFlag(c *cobra.Command) {
	c.Flags().StringVarP((*string)(o), "output", "o", "text", "text or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

// check is for verbs that have work to do before they print.
func (o output) check() error {
	if o != "text" && o != "json" {
		return &lab.FlagError{Flag: "--output", Value: string(o), Problem: "unknown format", Want: "want text or json"}
	}
	return nil
}

// print writes v as JSON, or calls text.
func (o output) print(w io.Writer, v any, text func()) error {
	if err := o.check(); err != nil {
		return err
	}
	if o == "text" {
		text()
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// progress returns a function that tells a person at a terminal what is being done; in a pipe it
// says nothing.
func (p Program) progress() func(string) {
	if !p.terminal() {
		return func(string) {}
	}
	return func(step string) { fmt.Fprintf(p.Stderr, "  %s\n", step) }
}

func (p Program) terminal() bool {
	f, ok := p.Stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
