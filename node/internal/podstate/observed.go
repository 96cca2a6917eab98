package podstate

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observed is all that is known about a Pod on its node at one moment.
type Observed struct {
	Now time.Time
	// HostIPs of the node, primary family first.
	HostIPs []netip.Addr
	// Gone: the API has no such Pod any more.
	Gone bool
	// EndingSince is when it was first seen that the Pod has to end; zero before.
	EndingSince time.Time
	// Rejected is why this node does not take the Pod, see Refuse; nil if it did.
	Rejected *Failure
	// Volumes have been set up, or why not.
	Volumes Step
	Sandbox Sandbox
	// Containers by name; one that was never tried is absent.
	Containers map[string]Container
	// Cleanup has ended everything that is of no use to a Pod that ended, Removal all the rest.
	Cleanup, Removal Step
}

// Step is something that takes a while.
type Step struct {
	Busy, Done bool
	// Failed is how it went last; nil after a success and before the first try.
	Failed *Failure
}

// Failure of a step.
type Failure struct {
	Reason, Message string
	At              time.Time
	// Count of failures in a row, 1 with the first.
	Count int
}

// Sandbox is the newest sandbox of the Pod.
type Sandbox struct {
	Step
	// ID is "" when there is none.
	ID      string
	Attempt uint32
	// Ready: its first process runs, its network is there.
	Ready bool
	// IPs of the Pod, in the order that its status shows (D3.3).
	IPs []netip.Addr
}

// Container is what is known about a container of the Pod.
type Container struct {
	// Image is there for the next start.
	Image Step
	// Start makes the next instance.
	Start Step
	// Stopping: the current instance is being stopped, to be killed at StopDeadline.
	Stopping     bool
	StopDeadline time.Time
	// Current instance, the newest, and the one before it; nil if there is none.
	Current, Previous *Instance
	// Backoff that restarts have come to.
	Backoff Backoff
	// Started and Ready are what probes, or their absence, say about the current instance.
	Started, Ready bool
	// Unhealthy: a probe asks for the current instance's end; nil if not.
	Unhealthy *Unhealthy
}

// Unhealthy is a liveness or startup probe's verdict.
type Unhealthy struct {
	// Probe is "liveness" or "startup".
	Probe string
	// Grace instead of the Pod's own, if not nil.
	Grace *int64
}

// State of an instance.
type State int

// The states that CRI has.
const (
	Created State = iota
	Running
	Exited
	Unknown
)

// Instance is one container of the runtime.
type Instance struct {
	// ID of the runtime; "" when the runtime has lost it and only the API remembers.
	ID      string
	Sandbox string
	// Attempt is 0 with the first instance: the restart count.
	Attempt uint32
	State   State
	// Image as the runtime names it, ImageID with digest.
	Image, ImageID string
	// Hash of the part of the spec that makes a new instance necessary; "" if unknown.
	Hash                             string
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int32
	Reason, Message                  string
}

// Alive tells whether the instance may have processes.
func (i *Instance) Alive() bool { return i != nil && (i.State == Running || i.State == Unknown) }

// Action is something to be done now. What the fields mean depends on Do.
type Action struct {
	Do Do
	// Container's name, for those about one.
	Container string
	// Attempt of the sandbox or instance to be made.
	Attempt uint32
	// Backoff that applies after this start.
	Backoff Backoff
	// Deadline at which the instance is killed, and the text of event Killing.
	Deadline time.Time
	Message  string
	// Hooks tells whether preStop runs.
	Hooks bool
}

// Do is the kind of an action.
type Do int

const (
	// SetupVolumes makes all volumes.
	SetupVolumes Do = iota
	// CreateSandbox makes a sandbox.
	CreateSandbox
	// StopSandbox kills what is left of a sandbox that is not ready.
	StopSandbox
	// PullImage makes sure that a container's image is there, by its pull policy.
	PullImage
	// StartContainer creates and starts an instance.
	StartContainer
	// CancelStart gives up what is under way towards an instance.
	CancelStart
	// StopContainer ends the current instance.
	StopContainer
	// Cleanup stops the sandbox and gives volumes back; logs stay.
	Cleanup
	// Remove leaves nothing of the Pod on the node.
	Remove
)

func (d Do) String() string {
	return [...]string{"SetupVolumes", "CreateSandbox", "StopSandbox", "PullImage", "StartContainer", "CancelStart", "StopContainer", "Cleanup", "Remove"}[d]
}

// Decision is what Next says.
type Decision struct {
	Actions []Action
	Status  corev1.PodStatus
	// Wake is when to ask again if nothing changes; zero: never.
	Wake time.Time
	// Ending: the Pod has to end; what is observed next says since when.
	Ending bool
	// Finished: nothing of the Pod is left on the node. One that the API still has may go there,
	// after its last status.
	Finished bool
}
