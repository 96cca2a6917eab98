package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

func (p Program) imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Images of the cluster (not in this version)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	load := &cobra.Command{
		Use: "load FILE…", Short: "Load OCI or docker archives into the cluster, for every node", Args: cobra.MinimumNArgs(1),
		RunE: func(*cobra.Command, []string) error {
			return errors.New("images are not available yet")
		},
	}
	(&cluster{}).addFlags(load)
	c.AddCommand(load)
	return c
}
