package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DefaultDataDir is where a cluster is kept unless the user says otherwise.
func DefaultDataDir(cluster string) string { return filepath.Join(defaultParent, cluster) }

const defaultParent = "/var/lib/duet"

// AdminKubeconfig is the kubeconfig that a server writes into its data directory.
func AdminKubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }

// locate finds the data directory of a cluster: the one given, the one that its running server
// works on, or the default. It is an error if the cluster runs with another than the one given.
func locate(cluster, given string) (string, error) {
	pid, running, err := serverIn(cluster)
	if err != nil {
		return "", err
	}
	switch {
	case given == "" && pid != 0:
		return running, nil
	case given == "":
		return DefaultDataDir(cluster), nil
	}
	dir, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	if pid != 0 && !sameDir(running, dir) {
		return "", fmt.Errorf("cluster %q runs with --data-dir %s (pid %d), not %s; use that, or another --name", cluster, running, pid, dir)
	}
	return dir, nil
}

// runs tells whether the process is a cluster's server on dir.
func runs(pid int, dir string) bool {
	is, ok := serverDir(pid)
	return ok && sameDir(is, dir)
}

func sameDir(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// takeOver stops the server on dir and takes its lock.
func takeOver(pid int, dir string) (*Lock, error) {
	if err := stopProcess(pid, stopGrace, func() bool { return runs(pid, dir) }); err != nil {
		return nil, err
	}
	return LockData(dir)
}

// exists tells whether there is a file of that name.
func exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
