package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/test/sandbox"
)

// TestMain runs the tests that need a real runtime in a sandbox, with which all ends that was started
// in it.
func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// box is a containerd of the test's own, with one image that has a shell.
type box struct {
	dir, socket string
	process     *exec.Cmd
}

const (
	image      = "docker.io/library/box:1"
	pauseImage = "docker.io/library/pause:1"
)

// newBox starts containerd, or skips the test where there is none.
func newBox(t *testing.T) *box {
	t.Helper()
	sandbox.Need(t)
	for _, program := range []string{"containerd", "runc", "ctr", "ip", "ldd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	if testing.Short() {
		t.Skip("starts containers")
	}
	dir, err := os.MkdirTemp("", "duetbox") //nolint:usetesting // sockets in it must have short names
	if err != nil {
		t.Fatal(err)
	}
	b := &box{dir: dir, socket: filepath.Join(dir, "containerd.sock")}
	for name, content := range map[string]string{
		"config.toml":            strings.NewReplacer("DIR", dir, "PAUSE", pauseImage).Replace(containerdConfig),
		"cni/10-bridge.conflist": strings.ReplaceAll(conflist, "DIR", dir),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t)
	t.Cleanup(func() { b.clean(t) })
	b.load(t)
	return b
}

const containerdConfig = `version = 2
root = "DIR/root"
state = "DIR/state"
[grpc]
  address = "DIR/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "PAUSE"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "DIR/runc"
`

const conflist = `{"cniVersion": "1.0.0", "name": "box", "plugins": [
  {"type": "bridge", "bridge": "box0", "isGateway": true, "ipam": {"type": "host-local", "dataDir": "DIR/ipam",
   "ranges": [[{"subnet": "10.200.0.0/24"}], [{"subnet": "fd00:10:200::/64"}]],
   "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}`

// start may be called again after kill.
func (b *box) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b.process = exec.Command("containerd", "--config", filepath.Join(b.dir, "config.toml"))
	b.process.Stdout, b.process.Stderr = log, log
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
}

// kill ends containerd as a crash does; containers go on.
func (b *box) kill(t *testing.T) {
	t.Helper()
	if err := b.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.process.Wait()
}

// killShims ends all that runs in containers, as a reboot does.
func (b *box) killShims(t *testing.T) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, _ := os.ReadFile(file)
		if !bytes.Contains(line, []byte("containerd-shim")) || !bytes.Contains(line, []byte(b.socket)) {
			continue
		}
		var shim int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &shim); err != nil {
			t.Fatal(err)
		}
		// This PID namespace is the test's own: its shims and their children are all there is.
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", shim, shim))
		for _, pid := range append(strings.Fields(string(children)), fmt.Sprint(shim)) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}

// clean removes every container and what they were run from.
func (b *box) clean(t *testing.T) {
	t.Helper()
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "level=error") {
				t.Log("containerd: ", line)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if r, err := cri.Dial(ctx, b.socket); err == nil {
		all, _ := r.ListSandboxes(ctx)
		for _, s := range all {
			_ = r.StopSandbox(ctx, s.GetId())
			_ = r.RemoveSandbox(ctx, s.GetId())
		}
		_ = r.Close()
	}
	_ = b.process.Process.Kill()
	_ = b.process.Wait()
	removeCgroupTree(b.cgroup())
	_ = exec.Command("ip", "link", "del", "box0").Run()
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, b.dir) {
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	_ = os.RemoveAll(b.dir)
}

// cgroup is the parent of all Pods of this box.
func (b *box) cgroup() string { return "/" + filepath.Base(b.dir) }

func removeCgroupTree(cgroup string) {
	found, _ := filepath.Glob("/sys/fs/cgroup/*" + cgroup)
	for _, dir := range found {
		var all []string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
			if d.IsDir() {
				all = append([]string{path}, all...)
			}
			return nil
		})
		for _, d := range all {
			_ = os.Remove(d)
		}
	}
}

// dial waits for containerd.
func (b *box) dial(t *testing.T) *cri.Runtime {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := cri.Dial(ctx, b.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// load imports two images made of this machine's own programs.
func (b *box) load(t *testing.T) {
	t.Helper()
	b.dial(t)
	programs := []string{"/bin/sh", "/bin/cat", "/bin/sleep", "/bin/echo", "/bin/true", "/bin/false", "/usr/bin/head", "/usr/bin/tail", "/bin/rm"}
	layer := rootfs(t, programs)
	for name, cmd := range map[string][]string{image: {"/bin/sleep", "1000"}, pauseImage: {"/bin/sleep", "infinity"}} {
		file := filepath.Join(b.dir, "image.tar")
		if err := os.WriteFile(file, archive(t, name, layer, cmd), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("ctr", "-a", b.socket, "-n", "k8s.io", "images", "import", file).CombinedOutput(); err != nil {
			t.Fatalf("ctr: %v: %s", err, out)
		}
	}
}

// rootfs is a layer with programs and the libraries they need.
func rootfs(t *testing.T, programs []string) []byte {
	t.Helper()
	files := map[string]string{} // path in the layer to path here
	for _, p := range programs {
		files["bin/"+filepath.Base(p)] = p
		out, err := exec.Command("ldd", p).Output()
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(out)) {
			if after, ok := strings.CutPrefix(word, "/"); ok {
				files[after] = word
			}
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entry(w, name, data, 0o755)
	}
	must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}))
	must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}))
	must(w.Close())
	return buf.Bytes()
}

func archive(t *testing.T, name string, layer []byte, cmd []string) []byte {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": cmd},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	must(err)
	manifest, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	must(err)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	entry(w, "manifest.json", manifest, 0o644)
	entry(w, "config.json", config, 0o644)
	entry(w, "layer.tar", layer, 0o644)
	must(w.Close())
	return buf.Bytes()
}

func entry(w *tar.Writer, name string, data []byte, mode int64) {
	must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}))
	_, err := io.Copy(w, bytes.NewReader(data))
	must(err)
}

var hostAddrs = []netip.Addr{netip.MustParseAddr("172.30.0.3"), netip.MustParseAddr("fd00:172:30::3")}
