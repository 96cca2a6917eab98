package cli

import (
	"context"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/pki"
)

// kubeconfigs implements lab.Kubeconfigs with the files of kubectl.
type kubeconfigs struct{}

func (kubeconfigs) Merge(ctx context.Context, file, admin string) error {
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return fmt.Errorf("read %s: %w", admin, err)
	}
	return pki.MergeKubeconfig(ctx, file, config)
}

func (kubeconfigs) Remove(ctx context.Context, file, cluster string) error {
	return pki.RemoveFromKubeconfig(ctx, file, pki.ContextName(cluster))
}
