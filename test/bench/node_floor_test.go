package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/duetk8s/duet/test/cluster"
)

// bare runs tasks with `ctr run` on the containerd of a node: the same process in the same box, with
// the same snapshotter and shim, but nothing of Kubernetes and no network. Two tasks, one after the
// other, are what a Pod with one container consists of: that is the floor.
type bare struct {
	socket, snapshotter, cgroup string
}

const (
	pauseImage = "duet.local/pause:1"
	nginxImage = "docker.io/library/nginx:latest"
)

var snapshotterLine = regexp.MustCompile(`(?m)^snapshotter = "(\w+)"`)

// newBare brings the images of both tasks into a containerd namespace of its own.
func newBare(b *testing.B, c *lab, node string) *bare {
	b.Helper()
	if _, err := exec.LookPath("ctr"); err != nil {
		b.Skip(err)
	}
	config, err := os.ReadFile(filepath.Join(c.Root(node), "containerd", "config.toml"))
	if err != nil {
		b.Fatal(err)
	}
	m := snapshotterLine.FindSubmatch(config)
	if m == nil {
		b.Fatal("the node's containerd has no snapshotter in its configuration")
	}
	t := &bare{
		socket: filepath.Join(c.Root(node), "containerd", "containerd.sock"), snapshotter: string(m[1]),
		cgroup: "/duet/" + c.Name + "/" + node + "/bare/",
	}
	pause := filepath.Join(c.Home, "pause.tar")
	for _, args := range [][]string{
		{"--namespace", "k8s.io", "images", "export", pause, pauseImage},
		{"--namespace", "bare", "images", "import", "--snapshotter", t.snapshotter, pause},
		{"--namespace", "bare", "images", "import", "--snapshotter", t.snapshotter, cluster.Images[0]},
	} {
		if err := t.ctr(b.Context(), args...); err != nil {
			b.Fatal(err)
		}
	}
	return t
}

func (t *bare) ctr(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "ctr", append([]string{"--address", t.socket}, args...)...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, out.Bytes())
	}
	return nil
}

// run starts the two tasks of one Pod; each runs when ctr has ended.
func (t *bare) run(ctx context.Context, name string) error {
	for _, task := range []struct{ image, id string }{{pauseImage, name + "-pause"}, {nginxImage, name + "-web"}} {
		err := t.ctr(ctx, "--namespace", "bare", "run", "--detach", "--null-io", "--snapshotter", t.snapshotter,
			"--cgroup", t.cgroup+task.id, task.image, task.id)
		if err != nil {
			return err
		}
	}
	return nil
}

// remove leaves nothing of them.
func (t *bare) remove(ctx context.Context, names ...string) error {
	for _, name := range names {
		ids := []string{name + "-pause", name + "-web"}
		if err := t.ctr(ctx, append([]string{"--namespace", "bare", "tasks", "rm", "--force"}, ids...)...); err != nil {
			return err
		}
		if err := t.ctr(ctx, append([]string{"--namespace", "bare", "containers", "rm"}, ids...)...); err != nil {
			return err
		}
	}
	return nil
}
