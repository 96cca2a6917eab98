// Package container decides what the runtime is asked for: the configuration of a Pod's sandbox
// and of each of its containers, from the Pod and from what the node knows. All of it is pure; the
// agent does the asking.
//
// [Config] and [Sandbox] are the whole of it. Errors are what kubectl users see as the reason and
// message of a waiting container ([Error]).
package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels and annotations of sandboxes and containers, by which the agent finds its own after a
// restart and by which tools such as crictl know them. They are named as everywhere.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash                     = "io.kubernetes.container.hash"
	AnnotationRestartCount             = "io.kubernetes.container.restartCount"
	AnnotationTerminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPodGrace                 = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationPreStop                  = "io.kubernetes.container.preStopHandler"
	AnnotationPorts                    = "io.kubernetes.container.ports"
)

// Reasons of an Error: what a container waits for, as `kubectl get pods` shows it, or what is wrong
// with the whole Pod.
const (
	ReasonConfig  = "CreateContainerConfigError"
	ReasonRun     = "RunContainerError"
	ReasonSandbox = "FailedCreatePodSandBox"
)

// Error is why a container cannot be created. The agent shows both fields as they are.
type Error struct{ Reason, Message string }

// Error returns the message alone.
func (e *Error) Error() string { return e.Message }

// Reason returns what to show as the reason for err: that of an [Error] in it, or [ReasonConfig].
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ReasonConfig
}

func configError(format string, args ...any) error {
	return &Error{Reason: ReasonConfig, Message: fmt.Sprintf(format, args...)}
}

// Image is what the runtime knows about a container's image.
type Image struct {
	Ref      string // by which the runtime finds it, the image's id
	User     string // as the Pod asks for it, docker.io/library/nginx:latest
	UID      *int64 // the image's numeric user, or nil
	Username string // the image's user by name, or ""
}

// Input is everything that a container's configuration depends on.
type Input struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	// PodIPs and HostIPs are in the order of status.podIPs and status.hostIPs (D3.3).
	PodIPs, HostIPs []netip.Addr
	// Node may be nil; it is asked for capacity and for limits that the container does not have.
	Node *corev1.Node
	// Services are those of the Pod's namespace and default/kubernetes (D3.8).
	Services []*corev1.Service
	// ConfigMap and Secret return one of the Pod's namespace. The error of an absent one satisfies
	// apierrors.IsNotFound; any other one makes the container wait and try again.
	ConfigMap func(name string) (*corev1.ConfigMap, error)
	Secret    func(name string) (*corev1.Secret, error)
	// Mounts are the container's volumes, as package volumes made them.
	Mounts []*runtimeapi.Mount
	// HostsFile and TerminationLog are paths on the node, "" where there is none to mount.
	HostsFile, TerminationLog string
	Attempt                   uint32 // how often the container was started before
	Image                     Image
	SeccompRoot               string // where profiles of type Localhost lie
}

// Config returns what to ask the runtime for.
func Config(in Input) (*runtimeapi.ContainerConfig, error) {
	c := in.Container
	env, err := Env(in)
	if err != nil {
		return nil, err
	}
	security, err := securityContext(in)
	if err != nil {
		return nil, err
	}
	known := EnvMap(env)
	return &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: in.Attempt},
		Image:       &runtimeapi.ImageSpec{Image: in.Image.Ref, UserSpecifiedImage: in.Image.User},
		Command:     expandAll(c.Command, known),
		Args:        expandAll(c.Args, known),
		WorkingDir:  c.WorkingDir,
		Envs:        env,
		Mounts:      mounts(in),
		Labels:      labels(in.Pod, map[string]string{LabelContainerName: c.Name}),
		Annotations: annotations(in),
		LogPath:     LogPath(c.Name, in.Attempt),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		StopSignal:  StopSignal(c),
		Linux:       &runtimeapi.LinuxContainerConfig{Resources: resources(in), SecurityContext: security},
	}, nil
}

// StopSignal is the signal that the Pod asks for, or the image's.
func StopSignal(c *corev1.Container) runtimeapi.Signal {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT
	}
	// SIGRTMIN+1 is SIGNAL_SIGRTMINPLUS1.
	name := strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(string(*c.Lifecycle.StopSignal))
	return runtimeapi.Signal(runtimeapi.Signal_value["SIGNAL_"+name])
}

// LogDirectory returns where the logs of a Pod's containers lie, below the node's root of logs.
func LogDirectory(root string, pod *corev1.Pod) string {
	return path.Join(root, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// LogPath returns the log file of one attempt of a container, below the Pod's LogDirectory.
func LogPath(container string, attempt uint32) string {
	return path.Join(container, strconv.FormatUint(uint64(attempt), 10)+".log")
}

// Hash identifies what a container was made from, so that a changed one (its image, for example) is
// seen after a restart of the agent too.
func Hash(c *corev1.Container) string {
	data, err := json.Marshal(c)
	if err != nil {
		return "" // no field of a container can make it fail
	}
	h := fnv.New32a()
	h.Write(data)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

// labels adds to others, a Pod's own for example, those that tell whose something is.
func labels(pod *corev1.Pod, more map[string]string) map[string]string {
	out := maps.Clone(more)
	if out == nil {
		out = map[string]string{}
	}
	out[LabelPodName], out[LabelPodNamespace], out[LabelPodUID] = pod.Name, pod.Namespace, string(pod.UID)
	return out
}

func annotations(in Input) map[string]string {
	pod, c := in.Pod, in.Container
	out := map[string]string{
		AnnotationHash:                     Hash(c),
		AnnotationRestartCount:             strconv.FormatUint(uint64(in.Attempt), 10),
		AnnotationTerminationMessagePath:   c.TerminationMessagePath,
		AnnotationTerminationMessagePolicy: string(c.TerminationMessagePolicy),
	}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		out[AnnotationPodGrace] = strconv.FormatInt(*g, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		out[AnnotationPreStop] = asJSON(c.Lifecycle.PreStop)
	}
	if len(c.Ports) > 0 {
		out[AnnotationPorts] = asJSON(c.Ports)
	}
	return out
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "" // types of the API always have a JSON form
	}
	return string(data)
}
