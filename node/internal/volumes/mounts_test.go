package volumes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/node/internal/container"
)

func TestMounts(t *testing.T) {
	m, _ := newManager(t)
	for _, tt := range []struct{ name, mounts, want string }{
		{"plain", "{name: e, mountPath: /data}", "/data <- e"},
		{"relative", "{name: e, mountPath: data}", "/data <- e"},
		{"read-only", "{name: e, mountPath: /data, readOnly: true}", "/data <- e ro"},
		{"content is read-only", "{name: c, mountPath: /data}", "/data <- c ro"},
		{"propagation", "{name: e, mountPath: /data, mountPropagation: Bidirectional}", "/data <- e PROPAGATION_BIDIRECTIONAL"},
		{"several, in order", "{name: e, mountPath: /z}, {name: c, mountPath: /a}", "/z <- e, /a <- c ro"},
		{"missing", "{name: nope, mountPath: /data}", `CreateContainerConfigError: cannot find volume "nope" to mount into container "main"`},
		{"recursively read-only", "{name: e, mountPath: /data, readOnly: true, recursiveReadOnly: Enabled}", `CreateContainerConfigError: volumeMount "e": recursive read-only mounts are not supported by this node's runtime`},
		{"if possible", "{name: e, mountPath: /data, readOnly: true, recursiveReadOnly: IfPossible}", "/data <- e ro"},
		{"no variable", "{name: e, mountPath: /data, subPathExpr: $(NOPE)}", `CreateContainerConfigError: failed to expand subPathExpr of volumeMount "e" of container "main": missing value for "NOPE"`},
		{"an empty variable", "{name: e, mountPath: /data, subPathExpr: $(EMPTY)}", `CreateContainerConfigError: failed to expand subPathExpr of volumeMount "e" of container "main": $(EMPTY) is empty`},
		{"a variable that leads out", "{name: e, mountPath: /data, subPathExpr: $(UP)}", `CreateContainerConfigError: failed to prepare subPath for volumeMount "e" of container "main": subPath "../x" leads out of its volume`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := podOf(t, "{containers: [{name: main, volumeMounts: ["+tt.mounts+"]}]}")
			paths := Paths{"e": {Dir: "e"}, "c": {Dir: "c", ReadOnly: true}}
			mounts, err := m.Mounts(pod, &pod.Spec.Containers[0], paths, map[string]string{"EMPTY": "", "UP": "../x"})
			if got := mountsText(mounts, err); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func mountsText(mounts []*runtimeapi.Mount, err error) string {
	if err != nil {
		return container.Reason(err) + ": " + err.Error()
	}
	var out []string
	for _, m := range mounts {
		text := m.ContainerPath + " <- " + m.HostPath
		if m.Readonly {
			text += " ro"
		}
		if m.Propagation != 0 {
			text += " " + m.Propagation.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// What a subPath leads to, and that no link leads out of the volume.
func TestSubPath(t *testing.T) {
	for _, tt := range []struct{ name, volume, make, sub, want string }{
		{"a directory", "e", "mkdir -p a/b; echo x >a/b/file", "a/b", "file"},
		{"a file", "e", "echo x >file", "file", "=x"},
		{"made when missing", "e", "", "new/dir", ""},
		{"a link inside", "e", "mkdir real; echo x >real/file; ln -s real link", "link", "file"},
		{"a link up and down again", "e", "mkdir -p a real; echo x >real/file; ln -s ../real a/link", "a/link", "file"},
		{"a key of a ConfigMap", "c", "", "a", "=1"},
		{"dots inside", "e", "mkdir -p a; echo x >file", "a/../file", "=x"},
		{"a link to the node's root", "e", "ln -s / link", "link", "leads out"},
		{"a link below the node's root", "e", "ln -s /etc link", "link/passwd", "leads out"},
		{"a link up", "e", "ln -s ../../../../../../../../etc link", "link", "leads out"},
		{"a new directory behind a link up", "e", "ln -s ../.. link", "link/new", "leads out"},
		{"a link that leads nowhere yet", "e", "ln -s /nowhere link", "link/new", "leads out"},
		{"a link to a directory missing inside", "e", "ln -s missing link", "link", "not a directory"},
		{"below a file", "e", "echo x >file", "file/new", "not a directory"},
		{"up", "e", "", "../x", "leads out"},
		{"from the root", "e", "", "/etc", "leads out"},
		{"by way of /proc", "e", "ln -s /proc/self/root link", "link/etc", "leads out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := newManager(t)
			pod := podOf(t, fmt.Sprintf("{containers: [{name: main, volumeMounts: [{name: %s, mountPath: /data, subPath: %q}]}], volumes: [{name: e, emptyDir: {}}, {name: c, configMap: {name: settings}}]}", tt.volume, tt.sub))
			paths, err := m.Setup(t.Context(), pod)
			if err != nil {
				t.Fatal(err)
			}
			sh(t, paths[tt.volume].Dir, tt.make)
			for range 2 { // a second start of the container
				mounts, err := m.Mounts(pod, &pod.Spec.Containers[0], paths, nil)
				if err != nil {
					if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "failed to prepare subPath for volumeMount") {
						t.Errorf("got %v, want %s", err, tt.want)
					}
					continue
				}
				if got := shown(t, mounts[0].HostPath); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(m.cfg.Root, "new")); len(left) > 0 {
				t.Error("made outside of the volume")
			}
		})
	}
}

// A directory that a subPath makes is as open as the one it is made in.
func TestSubPathMode(t *testing.T) {
	m, _ := newManager(t)
	pod := podOf(t, "{securityContext: {fsGroup: 5}, containers: [{name: main, volumeMounts: [{name: e, mountPath: /data, subPathExpr: logs/$(NAME)}]}], volumes: [{name: e, emptyDir: {}}]}")
	paths, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Mounts(pod, &pod.Spec.Containers[0], paths, map[string]string{"NAME": "web"}); err != nil {
		t.Fatal(err)
	}
	if got, want := tree(t, paths["e"].Dir), ". dgrwxrwxrwx 0:5\nlogs dgrwxrwxrwx 0:5\nlogs/web dgrwxrwxrwx 0:5"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// shown is what a container sees there: a file's content, or a directory's names.
func shown(t *testing.T, path string) string {
	t.Helper()
	if data, err := os.ReadFile(path); err == nil {
		return "=" + strings.TrimSpace(string(data))
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
