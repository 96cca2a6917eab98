package pki

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func lab() *api.Config {
	return Kubeconfig("lab", "https://127.0.0.1:7443", []byte("ca"), Pair{[]byte("crt"), []byte("key")})
}

const ours = `clusters:
  - cluster:
      certificate-authority-data: Y2E=
      server: https://127.0.0.1:7443
    name: duet-lab
users:
  - name: duet-lab
    user:
      client-certificate-data: Y3J0
      client-key-data: a2V5
contexts:
  - context:
      cluster: duet-lab
      user: duet-lab
    name: duet-lab
current-context: duet-lab
`

const theirs = `# my clusters
apiVersion: v1
kind: Config
clusters:
  - name: prod # careful
    cluster:
      server: https://prod.example
      unheard-of: kept
contexts:
  - name: prod
    context: {cluster: prod, user: me}
users:
  - name: me
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: login
preferences:
  colors: true
current-context: prod
`

func TestMergeKubeconfig(t *testing.T) {
	tests := map[string]struct{ before, after string }{
		"no content": {"", "apiVersion: v1\nkind: Config\n" + ours},
		"as kubectl leaves it when empty": {
			"apiVersion: v1\nkind: Config\nclusters: null\ncontexts: []\ncurrent-context: \"\"\npreferences: {}\nusers: null\n",
			`apiVersion: v1
kind: Config
clusters:
  - cluster:
      certificate-authority-data: Y2E=
      server: https://127.0.0.1:7443
    name: duet-lab
contexts:
  - context:
      cluster: duet-lab
      user: duet-lab
    name: duet-lab
current-context: duet-lab
preferences: {}
users:
  - name: duet-lab
    user:
      client-certificate-data: Y3J0
      client-key-data: a2V5
`,
		},
		"among others": {theirs, strings.NewReplacer(
			"      unheard-of: kept\n", `      unheard-of: kept
  - cluster:
      certificate-authority-data: Y2E=
      server: https://127.0.0.1:7443
    name: duet-lab
`,
			"    context: {cluster: prod, user: me}\n", `    context: {cluster: prod, user: me}
  - context:
      cluster: duet-lab
      user: duet-lab
    name: duet-lab
`,
			"        command: login\n", `        command: login
  - name: duet-lab
    user:
      client-certificate-data: Y3J0
      client-key-data: a2V5
`,
			"current-context: prod", "current-context: duet-lab",
		).Replace(theirs)},
		"in the place of an older one": {
			"kind: Config\n" + strings.ReplaceAll(ours, "7443", "1111"),
			"kind: Config\n" + ours,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(test.before), 0o644); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time changes nothing more
				if err := MergeKubeconfig(t.Context(), file, lab()); err != nil {
					t.Fatal(err)
				}
				if got := read(t, file); got != test.after {
					t.Fatalf("got\n%s\nwant\n%s", got, test.after)
				}
			}
			config, err := clientcmd.LoadFromFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := clientcmd.ConfirmUsable(*config, ""); err != nil {
				t.Error(err)
			}
			if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
}

func TestRemoveFromKubeconfig(t *testing.T) {
	tests := map[string]struct{ before, after string }{
		"not there": {theirs, theirs},
		"alone": {
			"apiVersion: v1\nkind: Config\n" + ours,
			"apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: \"\"\n",
		},
		"not current": {
			"kind: Config\n" + strings.Replace(ours, "current-context: duet-lab", "current-context: other", 1),
			"kind: Config\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: other\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := RemoveFromKubeconfig(t.Context(), file, "duet-lab"); err != nil {
					t.Fatal(err)
				}
				if got := read(t, file); got != test.after {
					t.Fatalf("got\n%s\nwant\n%s", got, test.after)
				}
			}
		})
	}

	t.Run("as it was before merging", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(theirs), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := MergeKubeconfig(t.Context(), file, lab()); err != nil {
			t.Fatal(err)
		}
		if err := RemoveFromKubeconfig(t.Context(), file, "duet-lab"); err != nil {
			t.Fatal(err)
		}
		if got, want := read(t, file), strings.Replace(theirs, "current-context: prod", `current-context: ""`, 1); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("no file", func(t *testing.T) {
		dir := t.TempDir()
		if err := RemoveFromKubeconfig(t.Context(), filepath.Join(dir, "config"), "duet-lab"); err != nil {
			t.Error(err)
		}
		if files := snapshot(t, dir); len(files) > 0 {
			t.Errorf("made %v", files)
		}
	})
}

func TestKubeconfigRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"not YAML":       "{[",
		"a list":         "- a\n",
		"another kind":   "kind: Pod\n",
		"two documents":  "kind: Config\n---\nkind: Config\n",
		"clusters a map": "clusters: {a: b}\n",
		"binary":         "\x00\x01\x02",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{
				MergeKubeconfig(t.Context(), file, lab()),
				RemoveFromKubeconfig(t.Context(), file, "duet-lab"),
			} {
				if !IsCorrupt(err) || !strings.Contains(err.Error(), file) {
					t.Errorf("error %v", err)
				}
			}
			if got := read(t, file); got != content {
				t.Errorf("file changed to %q", got)
			}
			if _, err := os.Stat(file + ".lock"); err == nil {
				t.Error("lock left behind")
			}
		})
	}
}

func TestKubeconfigLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "config")
	if err := MergeKubeconfig(t.Context(), file, lab()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := MergeKubeconfig(ctx, file, lab())
	if err == nil || !strings.Contains(err.Error(), "is locked by another program; if none is changing it, remove "+file+".lock") {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(file + ".lock"); err != nil {
		t.Fatal(err)
	}

	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, name := range names {
		wg.Go(func() {
			if err := MergeKubeconfig(t.Context(), file, Kubeconfig(name, "https://localhost", nil, Pair{})); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Contexts) != len(names)+1 {
		t.Errorf("%d contexts", len(config.Contexts))
	}
}

func TestKubeconfigLinkStays(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "config"), filepath.Join(dir, "dotfile")
	if err := os.WriteFile(target, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := MergeKubeconfig(t.Context(), link, lab()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v (%v)", info.Mode(), err)
	}
	if !strings.Contains(read(t, target), "duet-lab") {
		t.Error("the target is not changed")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
