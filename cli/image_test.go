package cli

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/duetk8s/duet/lab"
	"github.com/duetk8s/duet/pki"
)

// TestImageLoad: what can go wrong, and what is said about it.
func TestImageLoad(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	config := pki.Kubeconfig("absent", "https://127.0.0.1:1", nil, pki.Pair{})
	if err := pki.WriteKubeconfig(lab.AdminKubeconfig(dir), config); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for name, text := range map[string]string{"manifest.json": `[{"Config":"c","RepoTags":["nginx"],"Layers":[]}]`, "c": "{}"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	rows := []struct {
		name, dir, file string
		want            string
	}{
		{"no cluster", empty, image, `there is no cluster "absent" in ` + empty},
		{"no file", dir, filepath.Join(empty, "x.tar"), "read image archive " + filepath.Join(empty, "x.tar") + ": open "},
		{"no archive", dir, lab.AdminKubeconfig(dir), "read image archive " + lab.AdminKubeconfig(dir) + ": it is not a tar archive"},
		{"no server", dir, image, "load " + image + ` into cluster "absent": push docker.io/library/nginx:latest: `},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := run(t, "image", "load", "--name", "absent", "--data-dir", row.dir, row.file)
			if code != exitFailed || out != "" || !strings.HasPrefix(errs, "duet: "+row.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d, %s%s\nwant %s", code, out, errs, row.want)
			}
			if row.name == "no server" && !strings.HasSuffix(errs, "start the cluster with `duet up --name absent`\n") {
				t.Error(errs)
			}
		})
	}
}
