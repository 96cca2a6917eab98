package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// errNoNodes is the answer of whatever needs a node: this build has no node agent.
var errNoNodes = errors.New("worker nodes are not available yet")

func (p Program) nodeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "node", Short: "The node agent alone, in the foreground (not in this version)", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.Join(errNoNodes, errors.New("this version of duet has the control plane only; use `duet up --nodes 0` or `duet server`"))
		},
	}
	c.Flags().String("server", "", "URL of the API server")
	c.Flags().String("token", "", "bootstrap token to join with")
	return c
}
