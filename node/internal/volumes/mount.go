package volumes

import runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

// Mount is one volume in one container, as the runtime is asked for it.
type Mount struct {
	Name              string // of the volume
	HostPath          string
	ContainerPath     string
	ReadOnly          bool
	RecursiveReadOnly bool
	Relabel           bool // for SELinux
	Propagation       runtimeapi.MountPropagation
}
