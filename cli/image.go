package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/registry/load"
)

func (p Program) imageCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Images of the cluster", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var which cluster
	var out output
	command := &cobra.Command{
		Use: "load FILE…", Short: "Load OCI or docker archives into the cluster, for every node", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			if err := errors.Join(out.check(), which.check()); err != nil {
				return err
			}
			loaded, err := p.loadImages(c.Context(), which, files)
			if err != nil {
				return err
			}
			return out.print(p.Stdout, loaded, func() {
				for _, image := range loaded {
					fmt.Fprintf(p.Stdout, "%s %s\n", image.Name, image.Digest)
				}
			})
		},
	}
	which.addFlags(command)
	out.addFlag(command)
	c.AddCommand(command)
	return c
}

// loadedImage is a line of what `duet image load` prints.
type loadedImage struct {
	File   string `json:"file"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// loadImages puts all images of all files into the cluster's mirror. All files are opened before
// the first is sent: a wrong name among many changes nothing.
func (p Program) loadImages(ctx context.Context, which cluster, files []string) ([]loadedImage, error) {
	kubeconfig, err := which.kubeconfig()
	if err != nil {
		return nil, err
	}
	archives := make([]*load.Archive, len(files))
	for i, file := range files {
		if archives[i], err = load.Open(file); err != nil {
			return nil, err
		}
		defer archives[i].Close()
	}
	to, err := mirror(kubeconfig)
	if err != nil {
		return nil, err
	}
	defer to.Client.CloseIdleConnections()
	progress := p.progress()
	var loaded []loadedImage
	for i, archive := range archives {
		for _, image := range archive.Images {
			for _, name := range image.Names {
				progress("loading " + name.String())
				loaded = append(loaded, loadedImage{files[i], name.String(), image.Digest.String()})
			}
			err := to.Push(ctx, image)
			if errors.Is(err, unix.ECONNREFUSED) {
				err = fmt.Errorf("%w; start the cluster with `duet up --name %s`", err, which.name)
			}
			if err != nil {
				return nil, fmt.Errorf("load %s into cluster %q: %w", files[i], which.name, err)
			}
		}
	}
	return loaded, nil
}

// mirror is the image mirror of the cluster that a kubeconfig names: /v2/ of its API server.
func mirror(kubeconfig string) (load.Registry, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return load.Registry{}, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return load.Registry{}, fmt.Errorf("use the certificates of %s: %w", kubeconfig, err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		return load.Registry{}, fmt.Errorf("use the address in %s: %w", kubeconfig, err)
	}
	// HTTP/1.1: its body goes straight to the socket, in large pieces.
	return load.Registry{URL: server, Client: &http.Client{Transport: &http.Transport{TLSClientConfig: tls, WriteBufferSize: 256 << 10}}}, nil
}
