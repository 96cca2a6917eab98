package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/lab"
)

// boxCommand is the first process of a node in the lab; `duet up` starts it.
func (p Program) boxCommand() *cobra.Command {
	var cfg lab.BoxConfig
	var startFD, reportFD int
	c := &cobra.Command{
		Use: "box -- AGENT…", Short: "The first process of a node in the lab", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if startFD == noFD || reportFD == noFD {
				return usageError{errors.New("a box is started by `duet up`")}
			}
			cfg.Agent, cfg.Start, cfg.Report = args, inherited(startFD, "start-fd"), inherited(reportFD, "report-fd")
			return p.box(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Root, "root", "", "where the state of the node is")
	c.Flags().StringVar(&cfg.Cgroup, "cgroup", "", "cgroup of the node")
	c.Flags().IntVar(&startFD, "start-fd", noFD, "inherited descriptor")
	c.Flags().IntVar(&reportFD, "report-fd", noFD, "inherited descriptor")
	return c
}

func (p Program) box(ctx context.Context, cfg lab.BoxConfig) error {
	if err := lab.RunBox(ctx, cfg); err != nil {
		return fmt.Errorf("run the box of %s: %w", cfg.Root, err)
	}
	return nil
}

// inherited returns the file of a descriptor that the one who started us has left open.
func inherited(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
