package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podContainers checks all containers: their names are unique among all of them, host ports among
// those that run at the same time.
func podContainers(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	names, ports := sets.New[string](), sets.New[string]()
	for i := range s.Containers {
		c, at := &s.Containers[i], path.Child("containers").Index(i)
		errs = append(errs, podContainer(s, c, names, at)...)
		errs = append(errs, longRunning(s, c, at)...)
		errs = append(errs, restart(c, at)...)
		errs = append(errs, hostPortsOnce(c.Ports, ports, at.Child("ports"))...)
	}
	for i := range s.InitContainers {
		c, at := &s.InitContainers[i], path.Child("initContainers").Index(i)
		errs = append(errs, podContainer(s, c, names, at)...)
		errs = append(errs, restart(c, at)...)
		if sidecar(c) {
			errs = append(errs, longRunning(s, c, at)...)
			continue
		}
		const text = "may not be set for init containers without restartPolicy=Always"
		for _, f := range []struct {
			set  bool
			path string
		}{
			{c.Lifecycle != nil, "lifecycle"},
			{c.LivenessProbe != nil, "livenessProbe"},
			{c.ReadinessProbe != nil, "readinessProbe"},
			{c.StartupProbe != nil, "startupProbe"},
		} {
			if f.set {
				errs = append(errs, field.Forbidden(at.Child(f.path), text))
			}
		}
	}
	return errs
}

// sidecar tells an init container that stays from one that ends.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func restart(c *corev1.Container, path *field.Path) field.ErrorList {
	if c.RestartPolicy == nil {
		if len(c.RestartPolicyRules) > 0 {
			return field.ErrorList{field.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")}
		}
		return nil
	}
	return oneOf(*c.RestartPolicy, path.Child("restartPolicy"),
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)
}

// podContainer checks what all containers have in common.
func podContainer(s *corev1.PodSpec, c *corev1.Container, names sets.Set[string], path *field.Path) (errs field.ErrorList) {
	switch {
	case c.Name == "":
		errs = append(errs, field.Required(path.Child("name"), ""))
	case names.Has(c.Name):
		errs = append(errs, field.Duplicate(path.Child("name"), c.Name))
	default:
		errs = append(errs, dnsLabel(c.Name, path.Child("name"))...)
	}
	names.Insert(c.Name)
	if strings.TrimSpace(c.Image) == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	}
	errs = append(errs, required(c.TerminationMessagePolicy, path.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, containerPorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, environment(c.Env, path.Child("env"))...)
	errs = append(errs, environmentFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, volumeMounts(s, c, path.Child("volumeMounts"))...)
	errs = append(errs, volumeDevices(s, c, path.Child("volumeDevices"))...)
	errs = append(errs, required(c.ImagePullPolicy, path.Child("imagePullPolicy"),
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, containerResources(s, &c.Resources, path.Child("resources"))...)
	errs = append(errs, resizePolicies(s, c.ResizePolicy, path.Child("resizePolicy"))...)
	return append(errs, containerSecurity(s, c.SecurityContext, path.Child("securityContext"))...)
}

func containerPorts(ports []corev1.ContainerPort, path *field.Path) (errs field.ErrorList) {
	names := sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		if p.Name != "" {
			bad := faults(at.Child("name"), p.Name, utilvalidation.IsValidPortName(p.Name))
			if len(bad) == 0 && names.Has(p.Name) {
				bad = field.ErrorList{field.Duplicate(at.Child("name"), p.Name)}
			}
			names.Insert(p.Name)
			errs = append(errs, bad...)
		}
		if p.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			errs = append(errs, portNumber(p.HostPort, at.Child("hostPort"))...)
		}
		errs = append(errs, required(p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	return errs
}

func portNumber(port int32, path *field.Path) field.ErrorList {
	return faults(path, port, utilvalidation.IsValidPortNum(int(port)))
}

// hostPortsOnce reports a port of the node that two containers of the Pod want.
func hostPortsOnce(ports []corev1.ContainerPort, seen sets.Set[string], path *field.Path) (errs field.ErrorList) {
	for i, p := range ports {
		if p.HostPort == 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%d", p.HostIP, p.Protocol, p.HostPort)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(path.Index(i).Child("hostPort"), key))
		}
		seen.Insert(key)
	}
	return errs
}

func volumeMounts(s *corev1.PodSpec, c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	places := sets.New[string]()
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], path.Index(i)
		if m.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else if volumeNamed(s, m.Name) == nil {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if places.Has(m.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		places.Insert(m.MountPath)
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == m.Name }) {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.DevicePath == m.MountPath }) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		if m.SubPath != "" {
			errs = append(errs, descending(m.SubPath, at.Child("subPath"))...)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			errs = append(errs, descending(m.SubPathExpr, at.Child("subPathExpr"))...)
		}
		errs = append(errs, propagation(c, m, at)...)
	}
	return errs
}

// propagation checks how mounts below a volume pass between node and container.
func propagation(c *corev1.Container, m *corev1.VolumeMount, path *field.Path) (errs field.ErrorList) {
	if p := m.MountPropagation; p != nil {
		at := path.Child("mountPropagation")
		errs = append(errs, oneOf(*p, at, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
		if *p == corev1.MountPropagationBidirectional && !privileged {
			errs = append(errs, field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	r := m.RecursiveReadOnly
	if r == nil {
		return errs
	}
	at := path.Child("recursiveReadOnly")
	errs = append(errs, oneOf(*r, at, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)...)
	if *r != corev1.RecursiveReadOnlyDisabled {
		if !m.ReadOnly {
			errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
		}
	}
	return errs
}

func volumeDevices(s *corev1.PodSpec, c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	places := sets.New[string]()
	for i, d := range c.VolumeDevices {
		at := path.Index(i)
		switch v := volumeNamed(s, d.Name); {
		case d.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case v == nil:
			errs = append(errs, field.NotFound(at.Child("name"), d.Name))
		case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), d.Name,
				"can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		switch {
		case d.DevicePath == "":
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		case places.Has(d.DevicePath):
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "must be unique"))
		case backsteps(d.DevicePath):
			errs = append(errs, field.Invalid(at.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')"))
		}
		places.Insert(d.DevicePath)
	}
	return errs
}

func volumeNamed(s *corev1.PodSpec, name string) *corev1.Volume {
	for i := range s.Volumes {
		if s.Volumes[i].Name == name {
			return &s.Volumes[i]
		}
	}
	return nil
}

// descending checks a path that must stay below where it starts.
func descending(p string, path *field.Path) (errs field.ErrorList) {
	if strings.HasPrefix(p, "/") {
		errs = append(errs, field.Invalid(path, p, "must be a relative path"))
	}
	if backsteps(p) {
		errs = append(errs, field.Invalid(path, p, "must not contain '..'"))
	}
	return errs
}

func backsteps(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }
