package pause

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/duetk8s/duet/test/eventually"
)

func TestPrograms(t *testing.T) {
	for arch, m := range machines {
		data, err := Program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(arch, err)
		}
		if f.Machine != m.id || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(data)) || f.Entry != f.Progs[0].Vaddr+uint64(len(data)-len(m.code)-len(sigaction)) {
			t.Errorf("%s: %+v, %+v", arch, f.FileHeader, f.Progs[0].ProgHeader)
		}
		if len(data) > 640 {
			t.Errorf("%s: %d bytes", arch, len(data))
		}
	}
	if _, err := Program("pdp11"); err == nil {
		t.Error("a program for an unknown processor")
	}
}

// TestReaps runs the program as the first process of a pid namespace that has an orphan.
func TestReaps(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a pid namespace")
	}
	data, err := Program(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	program := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(program, data, 0o700); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "sh", "-c", `(sleep 0.2 &); exec "$0"`, program)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = c.Process.Kill(), c.Wait() }()
	proc := fmt.Sprintf("/proc/%d", c.Process.Pid)
	children := func() string {
		out, _ := os.ReadFile(fmt.Sprintf("%s/task/%d/children", proc, c.Process.Pid))
		return strings.TrimSpace(string(out))
	}
	eventually.True(t, 5*time.Second, "the program runs with an orphan", func() bool {
		exe, _ := os.Readlink(proc + "/exe")
		return exe == program && children() != ""
	})
	eventually.Is(t, 5*time.Second, "the orphan", children, "")
	state, err := os.ReadFile(proc + "/stat")
	if err != nil || !strings.Contains(string(state), "(pause) S ") {
		t.Errorf("the program does not wait: %s, %v", state, err)
	}
}

// TestImage: the image is the same wherever it is made, so nodes agree on its digest.
func TestImage(t *testing.T) {
	for arch, want := range map[string]string{
		"amd64": "sha256:6e19d025ecdd6569c04369f0eaab023d0a0526b6df3ad3b872011f75ab4a99ee",
		"arm64": "sha256:ab916ea567349a7f559f9ab19d6e2fb4c601dc901dca14823ae0ddc8ded10f27",
	} {
		image, err := newImage(arch)
		if err != nil {
			t.Fatal(err)
		}
		if image.manifest.Digest != want {
			t.Errorf("%s: %s, want %s\n%s\n%s", arch, image.manifest.Digest, want, image.manifest.data, image.config.data)
		}
	}
}
