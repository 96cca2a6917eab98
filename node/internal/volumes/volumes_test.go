package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/test/sandbox"
)

// TestMain runs the tests in a sandbox, so that nothing they mount is left.
func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) }

// fake is a small API server: objects by name, and tokens that are numbered.
type fake struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	clock      *clocktesting.FakeClock
	lifetime   time.Duration
	tokens     int
	requests   []string
	err        error
}

func (f *fake) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if cm, ok := f.configMaps[name]; ok {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (f *fake) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if s, ok := f.secrets[name]; ok {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (f *fake) Token(_ context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.tokens++
	f.requests = append(f.requests, fmt.Sprintf("%s/%s %v for pod %s %s", namespace, account, r.Spec.Audiences, r.Spec.BoundObjectRef.Name, r.Spec.BoundObjectRef.UID))
	r.Status = authenticationv1.TokenRequestStatus{Token: fmt.Sprintf("token-%d", f.tokens), ExpirationTimestamp: metav1.NewTime(f.clock.Now().Add(f.lifetime))}
	return r, nil
}

func newManager(t *testing.T) (*Manager, *fake) {
	t.Helper()
	sandbox.Need(t)
	f := &fake{
		configMaps: map[string]*corev1.ConfigMap{"settings": {Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {0}}}},
		secrets:    map[string]*corev1.Secret{"keys": {Data: map[string][]byte{"password": []byte("s3")}}},
		clock:      clocktesting.NewFakeClock(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)),
		lifetime:   time.Hour,
	}
	m := New(Config{Root: t.TempDir(), Sources: f, Clock: f.clock, Node: func() *corev1.Node {
		return &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Gi")}}}
	}})
	t.Cleanup(func() {
		if err := m.Teardown("u1"); err != nil {
			t.Error(err)
		}
		if left, err := mountsBelow(m.cfg.Root); err != nil || len(left) > 0 {
			t.Error("still mounted:", left, err)
		}
	})
	return m, f
}

// podOf is a Pod whose only container mounts all the volumes of its spec.
func podOf(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "prod", UID: "u1", Labels: map[string]string{"app": "web", "tier": "front"}, Annotations: map[string]string{"note": "a\nb"},
	}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	if len(pod.Spec.Containers) == 0 {
		pod.Spec.Containers = []corev1.Container{{Name: "main"}}
	}
	if len(pod.Spec.Containers[0].VolumeMounts) == 0 {
		for _, v := range pod.Spec.Volumes {
			pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
		}
	}
	return pod
}

// tree shows a directory as a container sees it: the mode, owner and content of each file, links
// followed, what only the node agent needs left out.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	var walk func(rel string)
	walk = func(rel string) {
		info, err := os.Stat(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%s %s %d:%d", rel, info.Mode(), st.Uid, st.Gid)
		if !info.IsDir() {
			data, err := os.ReadFile(filepath.Join(dir, rel))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %q", text, data))
			return
		}
		out = append(out, text)
		entries, err := os.ReadDir(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "..") {
				walk(filepath.Join(rel, e.Name()))
			}
		}
	}
	walk(".")
	return strings.Join(out, "\n")
}

func TestSetup(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"emptyDir", "volumes: [{name: v, emptyDir: {}}]", ". drwxrwxrwx 0:0"},
		{"no source at all", "volumes: [{name: v}]", ". drwxrwxrwx 0:0"},
		{"emptyDir, fsGroup", "{securityContext: {fsGroup: 5}, volumes: [{name: v, emptyDir: {}}]}", ". dgrwxrwxrwx 0:5"},
		{"emptyDir in memory", "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]", ". drwxrwxrwx 0:0"},
		{"emptyDir in memory, fsGroup", "{securityContext: {fsGroup: 5}, volumes: [{name: v, emptyDir: {medium: Memory}}]}", ". dgrwxrwxrwx 0:5"},
		{"emptyDir of huge pages", "volumes: [{name: v, emptyDir: {medium: HugePages}}]", `MountVolume.SetUp failed for volume "v" : emptyDir with medium HugePages is not supported by this node`},
		{"configMap", "volumes: [{name: v, configMap: {name: settings}}]", ". drwxrwxrwx 0:0\na -rw-r--r-- 0:0 \"1\"\nb -rw-r--r-- 0:0 \"2\"\nbin -rw-r--r-- 0:0 \"\\x00\""},
		{"configMap, items", "volumes: [{name: v, configMap: {name: settings, defaultMode: 0400, items: [{key: a, path: x/y/z}, {key: b, path: x/w, mode: 0777}]}}]", ". drwxrwxrwx 0:0\nx drwxr-xr-x 0:0\nx/w -rwxrwxrwx 0:0 \"2\"\nx/y drwxr-xr-x 0:0\nx/y/z -r-------- 0:0 \"1\""},
		{"configMap, fsGroup", "{securityContext: {fsGroup: 5}, volumes: [{name: v, configMap: {name: settings, defaultMode: 0400, items: [{key: a, path: x/y}]}}]}", ". dgrwxrwxrwx 0:5\nx dgrwxr-xr-x 0:5\nx/y -r--r----- 0:5 \"1\""},
		{"configMap, no such", "volumes: [{name: v, configMap: {name: nope}}]", `MountVolume.SetUp failed for volume "v" : configmap "nope" not found`},
		{"configMap, optional", "volumes: [{name: v, configMap: {name: nope, optional: true}}]", ". drwxrwxrwx 0:0"},
		{"configMap, no such key", "volumes: [{name: v, configMap: {name: settings, items: [{key: z, path: z}]}}]", `MountVolume.SetUp failed for volume "v" : references non-existent config key: z`},
		{"configMap, optional key", "volumes: [{name: v, configMap: {name: settings, optional: true, items: [{key: z, path: z}, {key: a, path: a}]}}]", ". drwxrwxrwx 0:0\na -rw-r--r-- 0:0 \"1\""},
		{"a path that leads out", "volumes: [{name: v, configMap: {name: settings, items: [{key: a, path: ../../x}]}}]", `MountVolume.SetUp failed for volume "v" : invalid path "../../x": must lead to a file below the volume`},
		{"secret", "volumes: [{name: v, secret: {secretName: keys, defaultMode: 0440}}]", ". drwxrwxrwx 0:0\npassword -r--r----- 0:0 \"s3\""},
		{"secret, no such", "volumes: [{name: v, secret: {secretName: nope}}]", `MountVolume.SetUp failed for volume "v" : secret "nope" not found`},
		{"secret, no such key", "volumes: [{name: v, secret: {secretName: keys, items: [{key: z, path: z}]}}]", `MountVolume.SetUp failed for volume "v" : references non-existent secret key: z`},
		{
			"downwardAPI", "{containers: [{name: main, resources: {limits: {memory: 64Mi}}}], volumes: [{name: v, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: annotations, fieldRef: {fieldPath: metadata.annotations}}, {path: name, mode: 0400, fieldRef: {fieldPath: metadata.name}}, {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}]}}]}",
			". drwxrwxrwx 0:0\nannotations -rw-r--r-- 0:0 \"note=\\\"a\\\\nb\\\"\"\nlabels -rw-r--r-- 0:0 \"app=\\\"web\\\"\\ntier=\\\"front\\\"\"\nmemory -rw-r--r-- 0:0 \"64\"\nname -r-------- 0:0 \"web\"",
		},
		{"downwardAPI, addresses are not for volumes", "volumes: [{name: v, downwardAPI: {items: [{path: ip, fieldRef: {fieldPath: status.podIP}}]}}]", `MountVolume.SetUp failed for volume "v" : unsupported fieldPath: status.podIP`},
		{
			"projected", "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}, {configMap: {name: settings, items: [{key: a, path: ca.crt}]}}, {secret: {name: nope, optional: true}}, {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}}]",
			". drwxrwxrwx 0:0\nca.crt -rw-r--r-- 0:0 \"1\"\nnamespace -rw-r--r-- 0:0 \"prod\"\ntoken -rw-r--r-- 0:0 \"token-1\"",
		},
		{"a token of one user", "{securityContext: {runAsUser: 7}, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}", ". drwxrwxrwx 0:0\ntoken -rw------- 7:0 \"token-1\""},
		{"a token of a group", "{securityContext: {fsGroup: 5}, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}", ". dgrwxrwxrwx 0:5\ntoken -rw-r----- 0:5 \"token-1\""},
		{"trust bundles", "volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {path: x}}]}}]", `MountVolume.SetUp failed for volume "v" : projected clusterTrustBundle is not supported by this node`},
		{"a claim", "volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]", `MountVolume.SetUp failed for volume "v" : volumes of kind persistentVolumeClaim are not supported by this node`},
		{"another kind", "volumes: [{name: v, nfs: {server: x, path: /y}}]", `MountVolume.SetUp failed for volume "v" : volumes of kind NFS are not supported by this node`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := newManager(t)
			pod := podOf(t, tt.spec)
			for range 2 { // again: what is there stays
				paths, err := m.Setup(t.Context(), pod)
				if err != nil {
					if err.Error() != tt.want {
						t.Errorf("got  %v\nwant %s", err, tt.want)
					}
					continue
				}
				if got := tree(t, paths["v"].Dir); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
			}
		})
	}
}

func TestSetupLeavesOutWhatNobodyMounts(t *testing.T) {
	m, _ := newManager(t)
	pod := podOf(t, "{containers: [{name: main, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, emptyDir: {}}, {name: w, secret: {secretName: nope}}]}")
	paths, err := m.Setup(t.Context(), pod)
	if err != nil || len(paths) != 1 {
		t.Errorf("got %v, %v", paths, err)
	}
}

// Secrets, tokens and memory are in memory, a ConfigMap is not.
func TestWhereVolumesLie(t *testing.T) {
	m, _ := newManager(t)
	paths, err := m.Setup(t.Context(), podOf(t, `
volumes:
- {name: configmap, configMap: {name: settings}}
- {name: empty, emptyDir: {}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: secret, secret: {secretName: keys}}
- {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"configmap": false, "empty": false, "memory": true, "secret": true, "token": true}
	for name, memory := range want {
		var st unix.Statfs_t
		if err := unix.Statfs(paths[name].Dir, &st); err != nil {
			t.Fatal(err)
		}
		if at, err := isMountPoint(paths[name].Dir); err != nil || at != memory {
			t.Errorf("%s: in memory %t, want %t (%v)", name, at, memory, err)
		}
		if name == "memory" && int64(st.Blocks)*st.Bsize != 1<<20 {
			t.Errorf("%s: %d bytes", name, int64(st.Blocks)*st.Bsize)
		}
		if got, want := paths[name].ReadOnly, name != "empty" && name != "memory"; got != want {
			t.Errorf("%s: read-only %t", name, got)
		}
	}
}

func TestHostPath(t *testing.T) {
	m, _ := newManager(t)
	dir := t.TempDir()
	file, sub, missing := filepath.Join(dir, "file"), filepath.Join(dir, "sub"), filepath.Join(dir, "new")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(sub, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ kind, path, want string }{
		{"", missing, ""},
		{"Directory", sub, ""},
		{"Directory", file, "hostPath type check failed: " + file + " is not a directory"},
		{"Directory", missing, "hostPath type check failed: " + missing + " is not a directory"},
		{"DirectoryOrCreate", sub, ""},
		{"DirectoryOrCreate", missing + "/a/b", ""},
		{"DirectoryOrCreate", file, "hostPath type check failed: " + file + " is not a directory"},
		{"File", file, ""},
		{"File", sub, "hostPath type check failed: " + sub + " is not a file"},
		{"FileOrCreate", dir + "/made", ""},
		{"File", dir + "/made", ""},
		{"Socket", file, "hostPath type check failed: " + file + " is not a socket file"},
		{"CharDevice", "/dev/null", ""},
		{"CharDevice", file, "hostPath type check failed: " + file + " is not a character device"},
		{"BlockDevice", "/dev/null", "hostPath type check failed: /dev/null is not a block device"},
	} {
		pod := podOf(t, fmt.Sprintf("volumes: [{name: v, hostPath: {path: %q, type: %q}}]", tt.path, tt.kind))
		paths, err := m.Setup(t.Context(), pod)
		if err != nil && tt.want != "" && err.Error() == `MountVolume.SetUp failed for volume "v" : `+tt.want {
			continue
		}
		if err != nil || tt.want != "" || paths["v"].Dir != tt.path || paths["v"].ReadOnly {
			t.Errorf("%s %s: got %v, %v; want %q", tt.kind, tt.path, paths, err, tt.want)
		}
	}
}

func TestTeardown(t *testing.T) {
	m, _ := newManager(t)
	precious := t.TempDir()
	if err := os.WriteFile(filepath.Join(precious, "keep"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := podOf(t, fmt.Sprintf(`
containers: [{name: main, volumeMounts: [{name: h, mountPath: /h, subPath: a}, {name: h, mountPath: /k, subPath: keep}, {name: m, mountPath: /m, subPath: b c}, {name: s, mountPath: /s}]}]
volumes: [{name: h, hostPath: {path: %q}}, {name: m, emptyDir: {medium: Memory}}, {name: s, secret: {secretName: keys}}]`, precious))
	paths, err := m.Setup(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := m.Mounts(pod, &pod.Spec.Containers[0], paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(mounts[2].HostPath) // somebody stands in it
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for range 2 {
		if err := m.Teardown("u1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(m.podDir("u1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(precious, "keep")); err != nil || string(data) != "x" {
		t.Errorf("the node's own file: %q %v", data, err)
	}
}
