package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Down removes a cluster: its processes, network, mounts, the context in the kubeconfig that up has
// put it in, and its data. What is gone already is no error, so it can be repeated.
func (l *Lab) Down(ctx context.Context, name, dataDir string) error {
	if err := needRoot("down"); err != nil {
		return err
	}
	dir, err := locate(name, dataDir)
	if err != nil {
		return err
	}
	there, err := exists(dir)
	if err != nil {
		return err
	}
	if !there {
		return clearAway(name)
	}
	s, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) { // an up or a down that was interrupted has left next to nothing
		s, err = Settings{Name: name}, foreign(dir)
	}
	if err != nil {
		return err
	}
	if s.Name != name {
		return fmt.Errorf("data directory %s belongs to cluster %q, not %q; use --name %s or another --data-dir", dir, s.Name, name, s.Name)
	}
	lock, err := LockData(dir)
	var held *HeldError
	if errors.As(err, &held) && runs(held.PID, dir) {
		if s.Nodes > 0 { // first: their connections would hold the server up
			l.Progress("stopping the nodes")
			if err := stopNodes(name); err != nil {
				return err
			}
		}
		l.Progress("stopping the control plane")
		lock, err = takeOver(held.PID, dir)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	l.Progress("removing the network")
	if err := clearAway(name); err != nil {
		return err
	}
	if s.Kubeconfig != "" {
		if err := l.Kubeconfigs.Remove(ctx, s.Kubeconfig, name); err != nil {
			return fmt.Errorf("remove the context of cluster %q from %s: %w", name, s.Kubeconfig, err)
		}
	}
	l.Progress("removing the data")
	return erase(dir)
}

// stopNodes ends all that runs on the nodes of a cluster.
func stopNodes(cluster string) error {
	members, err := namespaces(cluster)
	if err != nil {
		return err
	}
	for _, m := range members {
		if _, ok := nodeIndex(m); ok {
			if err := killOccupants(cluster, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// erase removes a data directory: cluster.json after all else, so that an interrupted down can be
// repeated, and the lock last. A directory that is the root of a disk stays, empty.
func erase(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); n != settingsFile && n != lockFile && n != "lost+found" {
			if err := removeData(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	for _, n := range []string{settingsFile, lockFile} {
		if err := os.Remove(filepath.Join(dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the data: %w", err)
		}
	}
	_ = os.Remove(dir) // fails for the root of a disk
	if filepath.Dir(dir) == defaultParent {
		_ = os.Remove(defaultParent) // fails while other clusters live there
	}
	return nil
}
