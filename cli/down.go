package cli

import "github.com/spf13/cobra"

func (p Program) downCommand() *cobra.Command {
	var which cluster
	c := &cobra.Command{
		Use: "down", Short: "Remove a cluster and all of its data; can be repeated", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := which.check(); err != nil {
				return err
			}
			l, err := p.lab()
			if err != nil {
				return err
			}
			return l.Down(c.Context(), which.name, which.dataDir)
		},
	}
	which.addFlags(c)
	return c
}
