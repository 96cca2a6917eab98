package cli

import (
	"os"

	"github.com/spf13/cobra"
	componentcli "k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	_ "github.com/duetk8s/duet/cli/translations" // before kubectl's commands are initialized
)

// forKubectl returns what is meant for the bundled kubectl, its shell completion included.
func forKubectl(args []string) ([]string, bool) {
	switch {
	case len(args) > 0 && args[0] == "kubectl":
		return args[1:], true
	case len(args) > 1 && args[1] == "kubectl" && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd):
		return append([]string{args[0]}, args[2:]...), true
	}
	return nil, false
}

// kubectl runs the bundled kubectl in this process, as its own main would: it has its own way with
// signals, output and exit codes, and leaves the process by itself when something fails. It looks
// for its name in os.Args (user agent, change cause, plugins).
func kubectl(args []string) int {
	os.Args = append([]string{"kubectl"}, args...)
	_, _ = logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args)) // a wrong level is reported when the flag is parsed
	if err := componentcli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err)
	}
	return exitFine
}

// kubectlCommand is the line in the help. Main runs kubectl before it comes to this, because
// building its commands takes longer than all of ours.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl …", Short: "The bundled kubectl; all that follows is its own", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { kubectl(args); return nil },
	}
}
