package node

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// labelUID is the label by which sandboxes and containers of a Pod are known.
const labelUID = "io.kubernetes.pod.uid"

// pods has a worker for each Pod of the node.
type pods struct {
	*parts
	// source lists and watches the Pods that are bound to this node.
	source cache.ListerWatcher
	// references is told which Pods there are, and tells which of them a change concerns.
	references references
	// ports are told which ports of the node lead to Pods.
	ports hostPorts
	// connected is called after each interruption of the runtime.
	connected func()
	running   sync.WaitGroup

	mu      sync.Mutex
	workers map[types.UID]*worker
	byName  map[string]*corev1.Pod
	// found is what the runtime had before there were workers, until they come.
	found map[types.UID]inventory
}

// references follows what Pods name in their specs.
type references interface {
	// Use has changed called whenever a ConfigMap or Secret that pod names changes.
	Use(pod *corev1.Pod, changed func())
	// Drop ends that.
	Drop(pod types.UID)
}

// hostPorts takes the whole wanted state; it does not block.
type hostPorts interface {
	SetHostPorts(all []hostnet.HostPort)
}

func newPods(p *parts, source cache.ListerWatcher, refs references, ports hostPorts, connected func()) *pods {
	return &pods{
		parts: p, source: source, references: refs, ports: ports, connected: connected,
		workers: map[types.UID]*worker{}, byName: map[string]*corev1.Pod{},
	}
}

// Run works until ctx ends. The runtime's containers stay as they are.
func (p *pods) Run(ctx context.Context) error {
	defer p.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := p.runtime.Events(ctx)
	if err := p.firstList(ctx, events); err != nil {
		return err
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: p.source, ObjectType: &corev1.Pod{},
		Handler: listen.Seen(func(pod *corev1.Pod, gone bool) {
			if gone {
				p.deleted(pod)
			} else {
				p.updated(ctx, pod)
			}
		}),
	})
	p.running.Go(func() { informer.RunWithContext(ctx) })
	p.running.Go(func() {
		if cache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
			p.admission.counted()
			p.orphans(ctx)
		}
	})
	for e := range events {
		p.dispatch(ctx, e, informer.HasSynced())
	}
	return ctx.Err()
}

// firstList waits until the runtime has told what there is.
func (p *pods) firstList(ctx context.Context, events <-chan cri.Event) error {
	for e := range events {
		if e.Kind != cri.Relist {
			continue
		}
		found, err := p.list(ctx)
		if err == nil {
			p.mu.Lock()
			p.found = found
			p.mu.Unlock()
			p.memory.begin()
			return nil
		}
		klog.FromContext(ctx).Error(err, "The runtime could not be asked what it has")
	}
	return fmt.Errorf("node: %w", ctx.Err())
}

// list asks the runtime for all that belongs to Pods.
func (p *pods) list(ctx context.Context) (map[types.UID]inventory, error) {
	sandboxes, err := p.runtime.ListSandboxes(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := p.runtime.ListContainers(ctx)
	if err != nil {
		return nil, err
	}
	found := map[types.UID]inventory{}
	add := func(labels map[string]string, sandbox *runtimeapi.PodSandbox, container *runtimeapi.Container) {
		uid := types.UID(labels[labelUID])
		if uid == "" {
			return
		}
		i := found[uid]
		if sandbox != nil {
			i.sandboxes = append(i.sandboxes, sandbox)
		}
		if container != nil {
			i.containers = append(i.containers, container)
		}
		found[uid] = i
	}
	for _, s := range sandboxes {
		add(s.GetLabels(), s, nil)
	}
	for _, c := range containers {
		add(c.GetLabels(), nil, c)
	}
	return found, nil
}

// dispatch hands an event of the runtime to the worker it concerns.
func (p *pods) dispatch(ctx context.Context, e cri.Event, synced bool) {
	if e.Kind == cri.Relist {
		p.relist(ctx, synced)
		return
	}
	uid, ok := p.owner.of(e.ID)
	if !ok {
		return
	}
	w := p.worker(uid)
	if w == nil {
		return
	}
	if e.Kind == cri.OOM || p.memory.killed(uid, e.ID, e.ExitCode) {
		w.tell(func(context.Context) { w.oomed(e.ID) })
	}
	if e.Kind == cri.Exit {
		w.tell(func(context.Context) { w.exited(e) })
	}
}

// relist has all workers compare what they know with what there is.
func (p *pods) relist(ctx context.Context, synced bool) {
	p.connected()
	p.memory.begin()
	found, err := p.list(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "The runtime could not be asked what it has")
		return
	}
	p.mu.Lock()
	workers := make(map[types.UID]*worker, len(p.workers))
	maps.Copy(workers, p.workers)
	if !synced {
		p.found = found
	}
	p.mu.Unlock()
	for uid, w := range workers {
		own := found[uid]
		w.tell(func(ctx context.Context) { w.relist(ctx, own) })
		delete(found, uid)
	}
	if synced {
		p.removeOrphans(ctx, found)
	}
}

func (p *pods) worker(uid types.UID) *worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers[uid]
}

// updated takes a Pod that is new or has changed.
func (p *pods) updated(ctx context.Context, pod *corev1.Pod) {
	p.mu.Lock()
	p.byName[pod.Namespace+"/"+pod.Name] = pod
	w := p.workers[pod.UID]
	if w != nil {
		p.mu.Unlock()
		w.tell(func(context.Context) { w.updated(pod) })
		return
	}
	w = newWorker(p.parts, pod, p.setHostPorts)
	w.judging = true
	p.workers[pod.UID] = w
	found, adopted := p.found[pod.UID]
	delete(p.found, pod.UID)
	p.mu.Unlock()
	p.references.Use(pod, func() { w.tell(func(context.Context) { w.sourceChanged() }) })
	known := adopted || pod.Status.StartTime != nil
	p.admission.ask(pod, known, func(refused *podstate.Failure) { w.tell(func(context.Context) { w.judged(refused) }) })
	if known {
		w.tell(func(ctx context.Context) { w.adopt(ctx, found) })
	}
	p.running.Go(func() {
		w.run(ctx)
		p.references.Drop(pod.UID)
		p.admission.release(pod.UID)
		p.owner.remove(pod.UID)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		delete(p.workers, pod.UID)
		p.mu.Unlock()
		if len(w.view.Load().ports) > 0 {
			p.setHostPorts()
		}
	})
}

// deleted takes a Pod that the API has no more.
func (p *pods) deleted(pod *corev1.Pod) {
	p.mu.Lock()
	if known := p.byName[pod.Namespace+"/"+pod.Name]; known != nil && known.UID == pod.UID {
		delete(p.byName, pod.Namespace+"/"+pod.Name)
	}
	w := p.workers[pod.UID]
	p.mu.Unlock()
	p.admission.release(pod.UID)
	if w != nil {
		w.tell(func(context.Context) { w.gone(pod) })
	}
}

// orphans removes what belongs to Pods that were deleted while no agent ran.
func (p *pods) orphans(ctx context.Context) {
	p.mu.Lock()
	found := p.found
	p.found = nil
	p.mu.Unlock()
	known, err := p.content.Known()
	if err != nil {
		klog.FromContext(ctx).Error(err, "What earlier pods have left is not known")
	}
	for _, uid := range known {
		if _, listed := found[uid]; !listed && p.worker(uid) == nil {
			if found == nil {
				found = map[types.UID]inventory{}
			}
			found[uid] = inventory{}
		}
	}
	p.removeOrphans(ctx, found)
}

// orphanGrace is what the processes of a Pod get that nobody knows any more.
const orphanGrace = time.Second

func (p *pods) removeOrphans(ctx context.Context, found map[types.UID]inventory) {
	for uid, i := range found {
		p.running.Go(func() {
			for wait := time.Second; ; wait = min(2*wait, time.Minute) {
				err := p.removeOrphan(ctx, uid, i)
				if err == nil || ctx.Err() != nil {
					return
				}
				klog.FromContext(ctx).Error(err, "What a deleted pod has left could not be removed", "uid", uid)
				select {
				case <-ctx.Done():
					return
				case <-p.clock.After(wait):
				}
			}
		})
	}
}

func (p *pods) removeOrphan(ctx context.Context, uid types.UID, found inventory) error {
	for _, c := range found.containers {
		if c.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING {
			if err := p.runtime.StopContainer(ctx, c.GetId(), runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT, orphanGrace); err != nil {
				return err
			}
		}
	}
	for _, s := range found.sandboxes {
		if err := firstError(p.runtime.StopSandbox(ctx, s.GetId()), p.runtime.RemoveSandbox(ctx, s.GetId())); err != nil {
			return err
		}
		m := s.GetMetadata()
		pod := &corev1.Pod{}
		pod.Namespace, pod.Name, pod.UID = m.GetNamespace(), m.GetName(), uid
		if err := p.content.RemoveLogs(pod); err != nil {
			return err
		}
	}
	for _, c := range found.containers {
		if err := p.runtime.RemoveContainer(ctx, c.GetId()); err != nil {
			return err
		}
	}
	return p.content.RemoveVolumes(uid)
}

// nudge has every worker look again: the node is known now, or its addresses have changed.
func (p *pods) nudge() {
	p.admission.look()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		w.tell(func(context.Context) {})
	}
}
