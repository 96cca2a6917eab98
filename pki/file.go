package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// corruptError names a file that cannot be used as it is.
type corruptError struct {
	file, fault, remedy string
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("pki: %s %s; %s", e.file, e.fault, e.remedy)
}

// IsCorrupt tells whether err is about a file that is there but cannot be used: damaged, expired,
// or not belonging to the others. It has been left as it is.
func IsCorrupt(err error) bool {
	var corrupt *corruptError
	return errors.As(err, &corrupt)
}

// makeDir creates dir, or takes others' rights away if it is there.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return tighten(dir, dirMode)
}

// tighten takes away the rights that mode does not have.
func tighten(path string, mode fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	if info.Mode().Perm()&^mode == 0 {
		return nil
	}
	if err := os.Chmod(path, info.Mode().Perm()&mode); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	return nil
}

// readFile returns nil without an error if there is no such file.
func readFile(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, tighten(file, fileMode)
}

// writeFile replaces file by data, or leaves it as it was.
func writeFile(file string, data []byte) (err error) {
	dir := filepath.Dir(file)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("pki: write %s: %w", file, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("pki: write %s: %w", file, errors.Join(err, os.Remove(temp.Name())))
		}
	}()
	_, err = temp.Write(data)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
