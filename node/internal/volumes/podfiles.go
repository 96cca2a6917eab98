package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// maxTerminationMessage is how much of a termination message is shown: its end.
const maxTerminationMessage = 4096

// HostsPath returns where a Pod's hosts file lies (C4.1).
func (m *Manager) HostsPath(uid types.UID) string { return filepath.Join(m.podDir(uid), "etc-hosts") }

// WriteHosts writes a Pod's hosts file in place: containers have this very file mounted and would go
// on seeing the old one after a rename. It returns what it found there, nil the first time.
//
// The new text goes over the old before the rest is cut off, so that a resolver that reads meanwhile
// never finds the file empty, and not before there is room for all of it: on a full disk the file
// stays as it was. A file that is right already is not touched.
func (m *Manager) WriteHosts(uid types.UID, content []byte) (found []byte, err error) {
	path := m.HostsPath(uid)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err = readHosts(f, len(content))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(found, content) {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(content)))
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return found, &fs.PathError{Op: "write", Path: path, Err: err}
		}
		if _, err := f.WriteAt(content, 0); err != nil {
			return found, err
		}
		if err := f.Truncate(int64(len(content))); err != nil {
			return found, err
		}
	}
	if err := f.Chmod(0o644); err != nil { // containers may change it, and umask did (C4.1)
		return found, err
	}
	return found, nil
}

// readHosts reads what is there. Containers can make the file as long as the disk is; of that, what
// is far longer than the agent would write is not looked at.
func readHosts(f *os.File, own int) ([]byte, error) {
	const edits = 1 << 20
	found, err := io.ReadAll(io.LimitReader(f, int64(2*own+edits)))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found, nil
}

// TerminationLog makes the file that one attempt of a container may leave its last words in, and
// returns its path.
func (m *Manager) TerminationLog(uid types.UID, container string, attempt uint32) (string, error) {
	path := m.terminationLog(uid, container, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o666) // whoever the container runs as writes it
}

// TerminationMessage returns the end of what a container left there, "" if it left nothing.
func (m *Manager) TerminationMessage(uid types.UID, container string, attempt uint32) (string, error) {
	f, err := os.OpenFile(m.terminationLog(uid, container, attempt), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("termination message of container %s: not a regular file", container)
	}
	text := make([]byte, min(info.Size(), maxTerminationMessage))
	n, err := f.ReadAt(text, info.Size()-int64(len(text)))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(text[:n]), nil
}

func (m *Manager) terminationLog(uid types.UID, container string, attempt uint32) string {
	return filepath.Join(m.podDir(uid), "containers", container, strconv.FormatUint(uint64(attempt), 10))
}
