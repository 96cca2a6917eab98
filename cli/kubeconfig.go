package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfigs edits kubeconfig files for package lab.
type kubeconfigs struct{}

// Merge implements lab.Kubeconfigs.
func (kubeconfigs) Merge(file, context, admin string) error {
	from, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return err
	}
	into, err := loadOrNew(file)
	if err != nil {
		return err
	}
	c := from.Contexts[from.CurrentContext]
	if c == nil {
		return fmt.Errorf("%s has no current context", admin)
	}
	into.Clusters[context] = from.Clusters[c.Cluster]
	into.AuthInfos[context] = from.AuthInfos[c.AuthInfo]
	into.Contexts[context] = &api.Context{Cluster: context, AuthInfo: context}
	into.CurrentContext = context
	return clientcmd.WriteToFile(*into, file)
}

// Remove implements lab.Kubeconfigs.
func (kubeconfigs) Remove(file, context string) error {
	from, err := loadOrNew(file)
	if err != nil || from.Contexts[context] == nil {
		return err
	}
	delete(from.Clusters, context)
	delete(from.AuthInfos, context)
	delete(from.Contexts, context)
	if from.CurrentContext == context {
		from.CurrentContext = ""
	}
	return clientcmd.WriteToFile(*from, file)
}

// loadOrNew reads a kubeconfig; a missing file is an empty one.
func loadOrNew(file string) (*api.Config, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return api.NewConfig(), nil
	}
	return clientcmd.LoadFromFile(file)
}
