package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// view is what others may know about a Pod's containers: a worker shows it after each decision.
type view struct {
	sandbox    string
	containers map[string]viewed
}

type viewed struct {
	id      string
	attempt uint32
}

// expose shows what is known now.
func (w *worker) expose() {
	v := &view{sandbox: w.o.Sandbox.ID, containers: make(map[string]viewed, len(w.o.Containers))}
	for name, c := range w.o.Containers {
		if c.Current != nil {
			v.containers[name] = viewed{c.Current.ID, c.Current.Attempt}
		}
	}
	w.view.Store(v)
}

// Pod gives a Pod of this node as the API has it.
func (p *pods) Pod(namespace, name string) (*corev1.Pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, ok := p.byName[namespace+"/"+name]
	return pod, ok
}

// Pods gives all Pods of this node.
func (p *pods) Pods() []*corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*corev1.Pod, 0, len(p.byName))
	for _, pod := range p.byName {
		all = append(all, pod)
	}
	return all
}

// Container gives the newest instance of a container, which may have ended, and the file it logs to.
func (p *pods) Container(uid types.UID, name string) (id, log string, ok bool) {
	w := p.worker(uid)
	if w == nil || w.view.Load() == nil {
		return "", "", false
	}
	c, ok := w.view.Load().containers[name]
	if !ok || c.id == "" {
		return "", "", false
	}
	return c.id, w.content.Log(w.first, name, c.attempt), true
}

// Sandbox gives the Pod's sandbox.
func (p *pods) Sandbox(uid types.UID) (id string, ok bool) {
	w := p.worker(uid)
	if w == nil || w.view.Load() == nil {
		return "", false
	}
	id = w.view.Load().sandbox
	return id, id != ""
}
