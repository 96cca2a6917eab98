package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/duetk8s/duet/node/internal/identity"
	"github.com/duetk8s/duet/pki"
)

// join makes the agent known to the cluster: by its certificate, or, the first time, by its token.
func join(ctx context.Context, cfg Config) (self, error) {
	ca, err := authority(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	me, err := identity.New(identity.Config{
		Name: cfg.Name, Server: cfg.Server, CA: ca, Token: cfg.Token, Dir: filepath.Join(cfg.RootDir, "pki"), Clock: cfg.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if err := me.Bootstrap(ctx); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return me, nil
}

// authority returns the cluster's CA: that in the file, or, the first time, the one that the server
// shows, which goes into the file.
func authority(ctx context.Context, cfg Config) ([]byte, error) {
	ca, err := os.ReadFile(cfg.CAFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && cfg.CAHash != "":
		return identity.FetchCA(ctx, cfg.Server, cfg.CAHash, cfg.CAFile, cfg.Clock)
	case err != nil:
		return nil, fmt.Errorf("the cluster's CA: %w", err)
	case cfg.CAHash != "":
		if pin, err := pki.PinOf(ca); err != nil || pin != cfg.CAHash {
			return nil, fmt.Errorf("%s is not the CA that --ca-hash says: this machine has been a node of another cluster; to begin anew remove %s", cfg.CAFile, cfg.RootDir)
		}
	}
	return ca, nil
}
