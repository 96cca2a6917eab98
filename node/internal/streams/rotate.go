package streams

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// A container's log is begun anew when it has grown to so much; so many files are kept of each
// attempt, the present one included. Both are upstream's defaults.
const (
	maxLogSize  = 10 << 20
	maxLogFiles = 5
	// rotateEvery is how often the sizes are looked at. Nobody tells them.
	rotateEvery = 10 * time.Second
)

// rotation keeps the logs of the containers small, until ctx ends.
func (s *Server) rotation(ctx context.Context) {
	ticker := time.NewTicker(rotateEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.rotateAll(ctx)
		}
	}
}

func (s *Server) rotateAll(ctx context.Context) {
	for _, pod := range s.config.Pods.Pods() {
		for _, name := range containerNames(pod) {
			id, file, ok := s.config.Pods.Container(pod.UID, name)
			if !ok {
				continue
			}
			if info, err := os.Stat(file); err != nil || info.Size() < maxLogSize {
				continue
			}
			if err := s.rotate(ctx, id, file); err != nil {
				klog.FromContext(ctx).Error(err, "Log not rotated", "pod", klog.KObj(pod), "container", name)
			}
		}
	}
}

func containerNames(pod *corev1.Pod) []string {
	var out []string
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			out = append(out, c.Name)
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		out = append(out, c.Name)
	}
	return out
}

// rotate gives a log another name and has the runtime begin a new one. The newest of the old files
// stays as it is, because somebody may be reading it; the others are compressed, the oldest removed.
func (s *Server) rotate(ctx context.Context, id, file string) error {
	if err := prune(file); err != nil {
		return err
	}
	old := file + "." + s.config.Clock.Now().UTC().Format("20060102-150405")
	if err := os.Rename(file, old); err != nil {
		return fmt.Errorf("rotate a log: %w", err)
	}
	if err := s.config.Runtime.ReopenContainerLog(ctx, id); err != nil {
		// The runtime goes on writing into the old file: it keeps its name.
		return errors.Join(fmt.Errorf("rotate the log %s: %w", file, err), os.Rename(old, file))
	}
	return nil
}

// prune makes room among the old files of a log for one more, and compresses those that stay.
func prune(file string) error {
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("look for old logs: %w", err)
	}
	var old []string
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(file)+".")
		path := filepath.Join(filepath.Dir(file), e.Name())
		if strings.HasSuffix(suffix, ".tmp") { // left by a crash
			err = errors.Join(err, os.Remove(path))
		} else if ok && suffix != "" {
			old = append(old, path)
		}
	}
	slices.Sort(old)
	keep := maxLogFiles - 2 // beside the present file and the one that is about to become old
	for _, path := range old[:max(0, len(old)-keep)] {
		err = errors.Join(err, os.Remove(path))
	}
	for _, path := range old[max(0, len(old)-keep):] {
		if !strings.HasSuffix(path, ".gz") {
			err = errors.Join(err, compress(path))
		}
	}
	return err
}

// compress replaces a file by FILE.gz.
func compress(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("compress a log: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("compress a log: %w", err)
	}
	temporary := path + ".tmp"
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return fmt.Errorf("compress a log: %w", err)
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	err = errors.Join(err, z.Close(), out.Close())
	if err == nil {
		err = os.Rename(temporary, path+".gz")
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		if gone := os.Remove(temporary); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return fmt.Errorf("compress the log %s: %w", path, err)
	}
	return nil
}
