package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
)

// netnsDir is where iproute2 looks for named namespaces.
const netnsDir = "/run/netns"

// createNamespace makes a network namespace and pins it under /run/netns, as `ip netns add` does.
func createNamespace(name string) error {
	if err := prepareNetnsDir(); err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	f.Close()
	err = hostnet.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(hostnet.ThreadPath(), path, "", unix.MS_BIND, "")
	})
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return nil
}

// prepareNetnsDir makes /run/netns a shared mount of itself, exactly as iproute2 does. If we left
// that to a later `ip netns add`, it would cover our namespaces with a copy of their mounts, and
// they could not be removed any more.
func prepareNetnsDir() error {
	return withNetnsDir(func() error {
		for {
			err := unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
			if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point yet
				return err
			}
			if err := unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return err
			}
		}
	})
}

// withNetnsDir runs fn with the lock that iproute2, too, takes on /run/netns. It serves us as the
// lock on everything that clusters share on a host.
func withNetnsDir(fn func() error) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(netnsDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return fn()
}

// deleteNamespace removes a namespace's name; the kernel drops what is in it when the last process
// has left. No such namespace is no error.
func deleteNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // EINVAL: nothing mounted there
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// removeNetnsDir takes prepareNetnsDir back once the last namespace of anybody is gone, and what
// boxes have put into /var/lib with the last of ours.
func removeNetnsDir() error {
	if _, err := os.Stat(netnsDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return withNetnsDir(func() error {
		entries, err := os.ReadDir(netnsDir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "duet-") }) {
			_ = os.Remove(cniCache) // of the boxes; fails if it is not there, or somebody else's
		}
		if len(entries) > 0 {
			return nil
		}
		// The lock holds the directory open, so the mount goes lazily. Whoever waits for the lock
		// keeps the old directory; prepareNetnsDir then begins again with the name.
		_ = unix.Unmount(netnsDir, unix.MNT_DETACH)
		return nil
	})
}

// namespaces returns the members of a cluster that have a network namespace, in order.
func namespaces(cluster string) ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var members []string
	for _, e := range entries {
		if m, ok := memberOf(cluster, e.Name()); ok {
			members = append(members, m)
		}
	}
	slices.Sort(members)
	return members, nil
}

// within runs fn in the named namespace, as [hostnet.Within].
func within(name string, fn func() error) error {
	return hostnet.Within(filepath.Join(netnsDir, name), fn)
}
