package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// firstPages is how many pages bolt writes to a new database, all at once.
const firstPages = 4

// checkFiles finds what etcd would fault, hang or exit on, or take for empty.
//
// A member whose first start was cut short has a database without keys and a log without entries,
// so it does not even know that it may vote for itself and waits for a leader forever. Nobody has
// been told of a write yet: checkFiles removes it, and etcd starts on nothing.
func checkFiles(dir string) error {
	last, err := lastEntry(dir)
	if err != nil {
		return fmt.Errorf("%w; %s", err, restore(dir))
	}
	begun := last > 0
	path := filepath.Join(dir, "member", "snap", "db")
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && begun:
		return fmt.Errorf("%s is missing; %s", path, restore(dir))
	case errors.Is(err, fs.ErrNotExist) || err == nil && !begun && info.Size() < firstPages*int64(os.Getpagesize()):
		return os.RemoveAll(filepath.Join(dir, "member"))
	case err != nil:
		return err
	}
	written, applied, err := checkBolt(path, info.Size())
	switch {
	case errors.Is(err, errInUse):
		return fmt.Errorf("%s: %w; stop it first", path, err)
	case err != nil:
		return fmt.Errorf("%s is damaged: %w; %s", path, err, restore(dir))
	case written && !begun:
		return fmt.Errorf("%s is damaged: it has no entries, and the database has; %s", filepath.Join(dir, "member", "wal"), restore(dir))
	case !begun:
		return os.RemoveAll(filepath.Join(dir, "member"))
	case last < applied:
		files := logs(dir)
		return fmt.Errorf("%s is damaged: it can be read up to entry %d, and the database has %d; %s",
			files[len(files)-1], last, applied, restore(dir))
	}
	return nil
}

// restore is the remedy for damage.
func restore(dir string) string {
	return fmt.Sprintf("restore it from a backup, or remove %s to start empty", dir)
}
