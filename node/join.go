package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/duetk8s/duet/node/internal/identity"
)

// join makes the agent known to the cluster: by its certificate, or, the first time, by its token.
func join(ctx context.Context, cfg Config) (self, error) {
	ca, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("node: the cluster's CA: %w", err)
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
