// Package volumes makes the volumes of Pods on this node: directories and tmpfs, the content of
// ConfigMaps, Secrets, the downward API and ServiceAccount tokens, paths of the node; and the other
// files that belong to a Pod, its hosts file and its containers' termination messages.
//
// A Pod's worker calls [Manager.Setup] before the first container, [Manager.Mounts] before each
// container, [Manager.Refresh] when something that a volume shows has changed or a token is due, and
// [Manager.Teardown] when all containers are gone. What package container makes of the mounts and
// when anything happens is not decided here.
//
// Below the root, files lie as they do on every Kubernetes node:
//
//	pods/UID/etc-hosts
//	pods/UID/volumes/kubernetes.io~configmap/NAME/
//	pods/UID/volume-subpaths/NAME/CONTAINER/INDEX
//	pods/UID/containers/NAME/ATTEMPT
//
// # Concurrency
//
// Methods may be called at the same time for different Pods. For one Pod its worker calls one at a
// time.
//
// # Guarantees
//
// A container sees the content of one version of a volume, never half of two: all files of it change
// with one rename (..data). A subPath never leads out of its volume, whatever links the volume holds
// or a container makes there meanwhile. Teardown removes nothing through a mount.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Sources is where content comes from. The error of something absent satisfies
// apierrors.IsNotFound; each method gives up when ctx ends.
type Sources interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Token(ctx context.Context, namespace, serviceAccount string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Config is what a Manager needs.
type Config struct {
	Root    string // the agent's directory; Pods lie in pods/UID below it
	Sources Sources
	Node    func() *corev1.Node // what the node can give, for resourceFieldRef; may return nil
	Clock   clock.PassiveClock
}

// Manager makes and removes volumes.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	tokens map[tokenKey]token
}

// New returns a Manager. It touches nothing yet.
func New(cfg Config) *Manager {
	return &Manager{cfg: cfg, tokens: map[tokenKey]token{}}
}

// Path is where a volume lies on the node.
type Path struct {
	Dir      string // or file, for a hostPath
	ReadOnly bool   // containers cannot write it, whatever they ask for
	Relabel  bool   // for SELinux
}

// Paths are a Pod's volumes by name.
type Paths map[string]Path

// Error is a volume that could not be made: the message of an event with reason FailedMount.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Setup makes the volumes that a Pod's containers mount, and is told by ctx when to give up. What is
// there already stays; calling it again after an error goes on. The error is an [Error].
func (m *Manager) Setup(ctx context.Context, pod *corev1.Pod) (Paths, error) {
	paths := Paths{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !mounted(pod, v.Name) {
			continue
		}
		p, err := m.setup(ctx, pod, v)
		if err != nil {
			return nil, &Error{v.Name, err}
		}
		paths[v.Name] = p
	}
	return paths, nil
}

// Refresh brings the content of a Pod's volumes up to date, those that Setup made. It returns when to
// be called again at the latest, because a token is to be renewed; zero if never. After an error the
// volumes show what they showed before.
func (m *Manager) Refresh(ctx context.Context, pod *corev1.Pod) (next time.Time, err error) {
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !mounted(pod, v.Name) || !hasContent(v) {
			continue
		}
		if _, err := m.setup(ctx, pod, v); err != nil {
			errs = append(errs, &Error{v.Name, err})
		}
	}
	return m.renewal(pod.UID), errors.Join(errs...)
}

func (m *Manager) setup(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (Path, error) {
	switch {
	case v.HostPath != nil:
		return Path{Dir: v.HostPath.Path}, checkHostPath(v.HostPath)
	case v.EmptyDir != nil || kind(v) == "":
		dir := m.volumeDir(pod.UID, "empty-dir", v.Name)
		return Path{Dir: dir, Relabel: true}, m.setupEmptyDir(pod, v.EmptyDir, dir)
	case hasContent(v):
		files, err := m.content(ctx, pod, v)
		if err != nil {
			return Path{}, err
		}
		dir := m.volumeDir(pod.UID, kind(v), v.Name)
		return Path{Dir: dir, ReadOnly: true, Relabel: true}, m.setupContent(pod, v, dir, files)
	}
	return Path{}, fmt.Errorf("volumes of kind %s are not supported by this node", kind(v))
}

// hasContent tells the volumes whose files this package writes.
func hasContent(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// kind names a volume's source as directories do, "" for none at all, which is an empty directory.
func kind(v *corev1.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return "configmap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downward-api"
	case v.Projected != nil:
		return "projected"
	case v.PersistentVolumeClaim != nil:
		return "persistentVolumeClaim"
	}
	source := reflect.ValueOf(v.VolumeSource)
	for i := range source.NumField() {
		if !source.Field(i).IsNil() {
			return source.Type().Field(i).Name
		}
	}
	return ""
}

// mounted reports whether a container of the Pod has the volume; others need not be made.
func mounted(pod *corev1.Pod, volume string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				if list[i].VolumeMounts[j].Name == volume {
					return true
				}
			}
		}
	}
	return false
}

func (m *Manager) podDir(uid types.UID) string {
	return filepath.Join(m.cfg.Root, "pods", string(uid))
}

func (m *Manager) volumeDir(uid types.UID, kind, name string) string {
	return filepath.Join(m.podDir(uid), "volumes", "kubernetes.io~"+kind, name)
}

// Teardown unmounts and removes everything of a Pod. It may be called for a Pod that is gone, and
// again after an error.
func (m *Manager) Teardown(uid types.UID) error {
	m.forget(uid)
	dir := m.podDir(uid)
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("volumes of pod %s: %w", uid, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("volumes of pod %s: %w", uid, err)
	}
	return nil
}
