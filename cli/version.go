package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	kubernetes "k8s.io/component-base/version"
)

// version of duet; the build sets it (see the Makefile).
var version = "devel"

type versions struct {
	Duet       string `json:"duet"`
	Kubernetes string `json:"kubernetes"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func (p Program) versionCommand() *cobra.Command {
	var out output
	c := &cobra.Command{
		Use: "version", Short: "The version of duet and of the Kubernetes API it serves", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versions{version, kubernetes.Get().GitVersion, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return out.print(p.Stdout, v, func() {
				fmt.Fprintf(p.Stdout, "duet %s\nKubernetes %s\n%s %s\n", v.Duet, v.Kubernetes, v.Go, v.Platform)
			})
		},
	}
	out.addFlag(c)
	return c
}
