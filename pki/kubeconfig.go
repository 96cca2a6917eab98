package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// ContextName is what context, cluster and user of a cluster are called in a kubeconfig.
func ContextName(cluster string) string { return "duet-" + cluster }

// Kubeconfig describes one cluster and its administrator, certificates included.
func Kubeconfig(cluster, server string, ca []byte, admin Pair) *api.Config {
	name := ContextName(cluster)
	config := api.NewConfig()
	config.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: admin.Certificate, ClientKeyData: admin.Key}
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	return config
}

// WriteKubeconfig replaces file by config, with mode 0600, unless it says the same already.
func WriteKubeconfig(file string, config *api.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("pki: kubeconfig %s: %w", file, err)
	}
	if old, err := readFile(file); err == nil && old != nil && bytes.Equal(old, data) {
		return nil
	}
	return writeFile(file, data)
}

// MergeKubeconfig puts the clusters, users and contexts of config into file, in the place of those
// with the same names, and makes config's current context the current one. Everything else in the
// file stays as it is, comments and fields unknown here included. The file and its directory are
// made if they are not there.
//
// Errors: a file that is no kubeconfig ([IsCorrupt]; it stays as it is), a lock that another
// program holds until ctx ends or for five seconds.
func MergeKubeconfig(ctx context.Context, file string, config *api.Config) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("pki: kubeconfig: %w", err)
	}
	return edit(ctx, file, func(d *document) error { return d.merge(config) })
}

// RemoveFromKubeconfig takes the context, cluster and user called context out of file, and the
// current context if it is that. Nothing to remove is no error, nor is no file.
//
// Errors: as [MergeKubeconfig].
func RemoveFromKubeconfig(ctx context.Context, file, context string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return edit(ctx, file, func(d *document) error { d.remove(context); return nil })
}

// edit changes file under its lock, and writes it only if it is different afterwards.
func edit(ctx context.Context, file string, change func(*document) error) (err error) {
	// A link (to a repository of dot files, say) stays a link.
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	unlock, err := lock(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pki: kubeconfig: %w", err)
	}
	d, err := parse(old)
	if err == nil {
		err = change(d)
	}
	if err != nil {
		return &corruptError{file, "is no kubeconfig (" + err.Error() + ")", "repair it, or name another file with --kubeconfig"}
	}
	if !d.changed {
		return nil
	}
	data, err := d.bytes()
	if err != nil {
		return fmt.Errorf("pki: kubeconfig %s: %w", file, err)
	}
	return writeFile(file, data)
}

// lock takes FILE.lock as kubectl config and kind do: whoever creates it has it.
func lock(ctx context.Context, file string) (unlock func() error, err error) {
	const patience, poll = 5 * time.Second, 50 * time.Millisecond
	name := file + ".lock"
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
		if err == nil {
			return func() error { return os.Remove(name) }, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("pki: lock kubeconfig: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pki: kubeconfig %s is locked by another program; if none is changing it, remove %s: %w", file, name, ctx.Err())
		case <-ticker.C:
		}
	}
}
