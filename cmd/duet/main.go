// Command duet is a Kubernetes-compatible cluster in one program; see package cli for its verbs.
package main

import (
	"context"
	"os"

	"github.com/duetk8s/duet/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), cli.Program{
		Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
	}))
}
