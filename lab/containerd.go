package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Places below a node's root.
const (
	containerdSocket = "containerd/containerd.sock"
	containerdConfig = "containerd/config.toml"
	containerdState  = "containerd/state"
	mirrorConfig     = "containerd/certs.d/_default/hosts.toml"
	clientPEM        = "pki/kubelet-client-current.pem" // the agent's certificate and key, in one file
	cniConfDir       = "cni/conf.d"
	cniState         = "cni/state"
)

// sandboxImage is what the first container of every Pod runs. The agent brings it along under
// whatever name containerd is configured with, so no registry has to have it.
const sandboxImage = "duet.local/pause:1"

// containerdTOML is the configuration of a node's containerd. What differs from the defaults:
//   - all it owns is below the node's root, so that any number run side by side;
//   - restrict_oom_score_adj: without CAP_SYS_RESOURCE, as in a container, runc dies otherwise;
//   - netns_mounts_under_state_dir: the box has no /run/netns;
//   - streams are for the agent alone, which terminates TLS and asks who may;
//   - no plugins that complain about devices which are not there.
const containerdTOML = `version = 2
root = ROOT/containerd/root
state = ROOT/containerd/state
required_plugins = ["io.containerd.grpc.v1.cri"]
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart",
]

[grpc]
address = ROOT/containerd/containerd.sock

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = SANDBOX
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = CNIBIN
conf_dir = ROOT/cni/conf.d

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = SNAPSHOTTER

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = ROOT/containerd/state/runc
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = ROOT/containerd/certs.d
`

// renderContainerd fills in the configuration.
func renderContainerd(root, cniBin, snapshotter string) []byte {
	var out strings.Builder
	for line := range strings.Lines(containerdTOML) {
		if head, path, ok := strings.Cut(line, "ROOT/"); ok {
			line = head + strconv.Quote(filepath.Join(root, strings.TrimSpace(path))) + "\n"
		}
		out.WriteString(line)
	}
	return []byte(strings.NewReplacer(
		"SANDBOX", strconv.Quote(sandboxImage), "CNIBIN", strconv.Quote(cniBin), "SNAPSHOTTER", strconv.Quote(snapshotter),
	).Replace(out.String()))
}

// renderMirror says where images come from: from the registry that the server is, with the agent's
// own certificate. With a way out, what it lacks comes from the real registry; without, the server
// is the only one asked, so that a missing image is "not found" at once.
func renderMirror(dir, root, server string, uplink bool) []byte {
	var out strings.Builder
	if uplink {
		fmt.Fprintf(&out, "[host.%q]\n", server)
	} else {
		fmt.Fprintf(&out, "server = %q\n", server)
	}
	fmt.Fprintf(&out, "capabilities = [\"pull\", \"resolve\"]\nca = %q\nclient = %q\n",
		filepath.Join(dir, "pki", "ca.crt"), filepath.Join(root, clientPEM))
	if !uplink {
		out.WriteString("\n[host]\n") // containerd 1.6 refuses a file without this table
	}
	return []byte(out.String())
}

// furnish makes a node's folders and the files that its containerd reads.
func furnish(dir string, s Settings, node string) error {
	root := nodeRoot(dir, node)
	for _, d := range []string{filepath.Dir(mirrorConfig), cniConfDir, cniState, "logs"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			return fmt.Errorf("make the folders of %s: %w", node, err)
		}
	}
	bin, err := cniBinDir()
	if err != nil {
		return err
	}
	snapshotter, err := snapshotterFor(root)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		containerdConfig: renderContainerd(root, bin, snapshotter),
		mirrorConfig:     renderMirror(dir, root, serverURL(s), s.Uplink),
	} {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o600); err != nil {
			return fmt.Errorf("configure containerd of %s: %w", node, err)
		}
	}
	return nil
}

// cniBinDirs are where distributions and upstream put the CNI plugins.
var cniBinDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

func cniBinDir() (string, error) {
	for _, dir := range cniBinDirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no CNI plugins in %s", strings.Join(cniBinDirs, ", "))
}

// snapshotterFor returns how containerd is to stack the layers of images below dir: the kernel
// refuses an overlay that is to be written onto another.
func snapshotterFor(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}
