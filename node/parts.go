package node

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"github.com/duetk8s/duet/cri"
)

// runtime runs sandboxes. *cri.Runtime is one.
type sandboxes interface {
	RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (id string, err error)
	SandboxStatus(ctx context.Context, id string) (*runtimeapi.PodSandboxStatus, error)
	StopSandbox(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, id string) error
	ListSandboxes(ctx context.Context) ([]*runtimeapi.PodSandbox, error)
}

// containers runs containers in sandboxes.
type containers interface {
	CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error)
	StartContainer(ctx context.Context, id string) error
	StopContainer(ctx context.Context, id string, signal runtimeapi.Signal, grace time.Duration) error
	RemoveContainer(ctx context.Context, id string) error
	ContainerStatus(ctx context.Context, id string) (*runtimeapi.ContainerStatus, error)
}

// images fetches what containers run.
type images interface {
	Image(ctx context.Context, image string) (*runtimeapi.Image, error)
	PullImage(ctx context.Context, image string, auth *runtimeapi.AuthConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error)
}

// lists is what an agent asks for that has missed something.
type lists interface {
	ListContainers(ctx context.Context) ([]*runtimeapi.Container, error)
	Events(ctx context.Context) <-chan cri.Event
}

// containerRuntime is all that pods need of the runtime.
type containerRuntime interface {
	sandboxes
	containers
	images
	lists
}

// content is what a Pod's processes find: files, environment, limits.
type content interface {
	// SetupVolumes makes all volumes of a Pod; it may be called again. The error's text is what
	// event FailedMount says.
	SetupVolumes(ctx context.Context, pod *corev1.Pod) error
	// RefreshVolumes brings those up to date that follow their source; next is when a token has to
	// be renewed, zero if none.
	RefreshVolumes(ctx context.Context, pod *corev1.Pod) (next time.Time, err error)
	// Sandbox is what to ask the runtime for, and what to warn the user about.
	Sandbox(pod *corev1.Pod, attempt uint32) (*runtimeapi.PodSandboxConfig, []warning, error)
	// Container is what to ask the runtime for. It writes the Pod's hosts file; lost is what an
	// edit of it had added, "" if nothing was lost. The error is a *refusal where the Pod is wrong.
	Container(ctx context.Context, want containerWanted) (config *runtimeapi.ContainerConfig, lost string, err error)
	// TerminationMessage is what a container has left at its terminationMessagePath.
	TerminationMessage(pod types.UID, container string, attempt uint32) string
	// Log is the file on the node that an attempt of a container writes to, LogDirectory where all
	// of a Pod's lie.
	Log(pod *corev1.Pod, container string, attempt uint32) string
	// RemoveVolumes gives back all that the Pod has on the node but its logs, RemoveLogs those.
	RemoveVolumes(pod types.UID) error
	RemoveLogs(pod *corev1.Pod) error
	// Known gives the Pods that have something on the node, for what was left by an earlier agent.
	Known() ([]types.UID, error)
}

// containerWanted is an instance to be made.
type containerWanted struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	PodIPs    []netip.Addr
	Attempt   uint32
	Image     *runtimeapi.Image
}

// warning is an event about a Pod that goes on nevertheless.
type warning struct{ Reason, Message string }

// refusal is why a container cannot be made as the Pod asks for it.
type refusal struct{ Reason, Message string }

func (r *refusal) Error() string { return r.Message }

// prober asks containers how they are, and runs their hooks.
type prober interface {
	// Probe reports until ctx ends. It returns when it has nothing to do.
	Probe(ctx context.Context, target probeTarget, report func(probeResult))
	// Hook runs a hook to its end.
	Hook(ctx context.Context, target probeTarget, hook *corev1.LifecycleHandler) error
}

// probeTarget is a running instance.
type probeTarget struct {
	Pod         *corev1.Pod
	Container   *corev1.Container
	ID          string
	IPs         []netip.Addr
	Started     time.Time
	StartupDone bool
}

// probeResult is news about an instance. Each field that is not nil is a change.
type probeResult struct {
	Started, Ready *bool
	// Condemned is "liveness" or "startup" when that probe has failed too often.
	Condemned string
	Grace     *int64
	// Reason and Message are those of an event, "" if there is nothing to say.
	Reason, Message string
}

// parts is what workers work with.
type parts struct {
	runtime containerRuntime
	content content
	prober  prober
	api     typedcorev1.PodsGetter
	secrets func(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	events  record.EventRecorder
	clock   clock.WithTicker
	// hostIPs of the node as they are now, primary family first.
	hostIPs func() []netip.Addr
	memory  *oomCounts
	// admission counts which Pods the node has taken.
	admission *admission
	// owner is told which worker a container or sandbox belongs to.
	owner *owners
}
