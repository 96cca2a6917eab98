package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/duetk8s/duet/node/internal/downward"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
	uid  int // owner, -1 is root
}

// files are what a volume shows, by path below it.
type files map[string]file

const defaultMode = 0o644

// content fetches what a volume shall show.
func (m *Manager) content(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (files, error) {
	out := files{}
	c := collector{ctx: ctx, m: m, pod: pod, volume: v.Name, out: out}
	switch {
	case v.ConfigMap != nil:
		c.mode = modeOr(v.ConfigMap.DefaultMode, defaultMode)
		return out, c.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		c.mode = modeOr(v.Secret.DefaultMode, defaultMode)
		return out, c.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		c.mode = modeOr(v.DownwardAPI.DefaultMode, defaultMode)
		return out, c.downward(v.DownwardAPI.Items)
	}
	c.mode = modeOr(v.Projected.DefaultMode, defaultMode)
	for i := range v.Projected.Sources {
		if err := c.projection(i, &v.Projected.Sources[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// collector puts the files of one volume together.
type collector struct {
	ctx    context.Context
	m      *Manager
	pod    *corev1.Pod
	volume string
	mode   fs.FileMode
	out    files
}

func (c *collector) projection(i int, p *corev1.VolumeProjection) error {
	switch {
	case p.ConfigMap != nil:
		return c.configMap(p.ConfigMap.Name, p.ConfigMap.Items, p.ConfigMap.Optional)
	case p.Secret != nil:
		return c.secret(p.Secret.Name, p.Secret.Items, p.Secret.Optional)
	case p.DownwardAPI != nil:
		return c.downward(p.DownwardAPI.Items)
	case p.ServiceAccountToken != nil:
		return c.token(i, p.ServiceAccountToken)
	case p.ClusterTrustBundle != nil:
		return errors.New("projected clusterTrustBundle is not supported by this node")
	case p.PodCertificate != nil:
		return errors.New("projected podCertificate is not supported by this node")
	}
	return nil
}

func (c *collector) configMap(name string, items []corev1.KeyToPath, optional *bool) error {
	cm, err := c.m.cfg.Sources.ConfigMap(c.ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, "configmap", name, optional)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return c.pick(data, items, optional, "config")
}

func (c *collector) secret(name string, items []corev1.KeyToPath, optional *bool) error {
	secret, err := c.m.cfg.Sources.Secret(c.ctx, c.pod.Namespace, name)
	if err != nil {
		return absent(err, "secret", name, optional)
	}
	return c.pick(secret.Data, items, optional, "secret")
}

// absent makes the error of a source that could not be had, or none if it is missing and optional.
func absent(err error, kind, name string, optional *bool) error {
	switch {
	case !apierrors.IsNotFound(err):
		return err
	case optional != nil && *optional:
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

// pick adds the items, or all keys where none are named.
func (c *collector) pick(data map[string][]byte, items []corev1.KeyToPath, optional *bool, kind string) error {
	if len(items) == 0 {
		for key, value := range data {
			if err := c.add(key, value, nil); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("references non-existent %s key: %s", kind, item.Key)
		}
		if err := c.add(item.Path, value, item.Mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) downward(items []corev1.DownwardAPIVolumeFile) error {
	for i := range items {
		item := &items[i]
		value, err := c.downwardValue(item)
		if err != nil {
			return err
		}
		if err := c.add(item.Path, []byte(value), item.Mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) downwardValue(item *corev1.DownwardAPIVolumeFile) (string, error) {
	switch {
	case item.FieldRef != nil:
		return downward.Field(c.pod, item.FieldRef.FieldPath)
	case item.ResourceFieldRef != nil:
		container, err := downward.Container(c.pod, item.ResourceFieldRef.ContainerName)
		if err != nil {
			return "", err
		}
		return downward.Resource(container, item.ResourceFieldRef, c.m.node())
	}
	return "", nil
}

// token adds a ServiceAccount token. Where the Pod's processes run as somebody in particular, nobody
// else may read it.
func (c *collector) token(source int, p *corev1.ServiceAccountTokenProjection) error {
	data, err := c.m.token(c.ctx, c.pod, c.volume, source, p)
	if err != nil {
		return fmt.Errorf("failed to fetch token: %w", err)
	}
	uid := commonUser(c.pod)
	if err := c.add(p.Path, data, nil); err != nil {
		return err
	}
	f := c.out[p.Path]
	f.uid = uid
	if uid >= 0 || fsGroup(c.pod) >= 0 {
		f.mode = 0o600
	}
	c.out[p.Path] = f
	return nil
}

// commonUser is the user that all of a Pod's containers are told to run as, -1 if there is no such.
func commonUser(pod *corev1.Pod) int {
	common := int64(-1)
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var uid *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				uid = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				uid = sc.RunAsUser
			}
			if uid == nil || common >= 0 && *uid != common {
				return -1
			}
			common = *uid
		}
	}
	return int(common)
}

// add adds one file. Validation has refused paths that lead out of the volume; it is not the last to
// do so.
func (c *collector) add(path string, data []byte, mode *int32) error {
	if !filepath.IsLocal(path) || len(path) >= 2 && path[:2] == ".." {
		return fmt.Errorf("invalid path %q: must lead to a file below the volume", path)
	}
	c.out[filepath.Clean(path)] = file{data: data, mode: modeOr(mode, c.mode), uid: -1}
	return nil
}

func modeOr(mode *int32, otherwise fs.FileMode) fs.FileMode {
	if mode == nil {
		return otherwise
	}
	return fs.FileMode(*mode) & fs.ModePerm
}

// setupContent makes the volume's directory, in memory unless it is a ConfigMap's, and writes files.
func (m *Manager) setupContent(pod *corev1.Pod, v *corev1.Volume, dir string, content files) error {
	gid := fsGroup(pod)
	if v.ConfigMap != nil {
		if err := makeOwned(dir, 0o777, gid, 0o770); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		options := "mode=0777"
		if gid >= 0 {
			options = fmt.Sprintf("mode=2777,gid=%d", gid)
		}
		if err := mountTmpfs(dir, options); err != nil {
			return err
		}
	}
	return write(dir, content, gid, m.cfg.Clock.Now())
}

func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.tokens {
		if key.pod == uid {
			delete(m.tokens, key)
		}
	}
}
