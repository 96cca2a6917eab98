package volumes

import (
	"fmt"
	"path"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/node/internal/container"
)

// Mounts returns a container's volumes in the order of its volumeMounts. paths are what Setup
// returned; env is the container's environment, for subPathExpr. What a subPath names is made if it
// is not there. The error is a [container.Error].
func (m *Manager) Mounts(pod *corev1.Pod, c *corev1.Container, paths Paths, env map[string]string) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		vm := &c.VolumeMounts[i]
		volume, ok := paths[vm.Name]
		if !ok {
			return nil, configError("cannot find volume %q to mount into container %q", vm.Name, c.Name)
		}
		source := volume.Dir
		sub, err := subPath(vm, env)
		if err != nil {
			return nil, configError("failed to expand subPathExpr of volumeMount %q of container %q: %v", vm.Name, c.Name, err)
		}
		if sub != "" {
			target := filepath.Join(m.podDir(pod.UID), "volume-subpaths", vm.Name, c.Name, strconv.Itoa(i))
			if err := bindSubPath(volume.Dir, sub, target); err != nil {
				return nil, configError("failed to prepare subPath for volumeMount %q of container %q: %v", vm.Name, c.Name, err)
			}
			source = target
		}
		mount, err := runtimeMount(vm, volume, source)
		if err != nil {
			return nil, err
		}
		out = append(out, mount)
	}
	return out, nil
}

func configError(format string, args ...any) error {
	return &container.Error{Reason: container.ReasonConfig, Message: fmt.Sprintf(format, args...)}
}

func subPath(vm *corev1.VolumeMount, env map[string]string) (string, error) {
	if vm.SubPathExpr == "" {
		return vm.SubPath, nil
	}
	sub, err := container.ExpandStrict(vm.SubPathExpr, env)
	if err == nil && sub == "" {
		err = fmt.Errorf("%s is empty", vm.SubPathExpr)
	}
	return sub, err
}

func runtimeMount(vm *corev1.VolumeMount, volume Path, source string) (*runtimeapi.Mount, error) {
	if r := vm.RecursiveReadOnly; r != nil && *r == corev1.RecursiveReadOnlyEnabled {
		return nil, configError("volumeMount %q: recursive read-only mounts are not supported by this node's runtime", vm.Name)
	}
	at := vm.MountPath
	if !path.IsAbs(at) {
		at = "/" + at
	}
	return &runtimeapi.Mount{
		ContainerPath: at, HostPath: source,
		Readonly: vm.ReadOnly || volume.ReadOnly, SelinuxRelabel: volume.Relabel, Propagation: propagation(vm.MountPropagation),
	}, nil
}

func propagation(p *corev1.MountPropagationMode) runtimeapi.MountPropagation {
	if p == nil {
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	}
	switch *p {
	case corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	default:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	}
}
