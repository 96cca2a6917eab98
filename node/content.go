package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/hosts"
	"github.com/duetk8s/duet/node/internal/container"
	"github.com/duetk8s/duet/node/internal/volumes"
)

// Where the node keeps what its own processes resolve names with.
const (
	nodeHosts      = "/etc/hosts"
	nodeResolvConf = "/etc/resolv.conf"
	resolvedConf   = "/run/systemd/resolve/resolv.conf"
)

// podContent puts packages container, volumes and hosts behind the interface content.
type podContent struct {
	cfg      Config
	volumes  *volumes.Manager
	sources  volumes.Sources
	services servicesOf
	node     func() *corev1.Node
	hostIPs  func() []netip.Addr

	mu   sync.Mutex
	held map[types.UID]*held
}

// held is what is known about the files of one Pod.
type held struct {
	// mu: of one Pod's files, one thing is done at a time.
	mu    sync.Mutex
	paths volumes.Paths
	hosts []byte // as written last; nil if that was an earlier agent
}

// servicesOf gives Services for environment variables, when they have been listed.
type servicesOf func(ctx context.Context, namespace string) ([]*corev1.Service, error)

// lock gives a Pod's files to the caller, until unlocked.
func (p *podContent) lock(pod types.UID) *held {
	p.mu.Lock()
	h := p.held[pod]
	if h == nil {
		h = &held{}
		p.held[pod] = h
	}
	p.mu.Unlock()
	h.mu.Lock()
	return h
}

func (p *podContent) SetupVolumes(ctx context.Context, pod *corev1.Pod) error {
	h := p.lock(pod.UID)
	defer h.mu.Unlock()
	paths, err := p.volumes.Setup(ctx, pod)
	if err != nil {
		return err
	}
	h.paths = paths
	return nil
}

func (p *podContent) RefreshVolumes(ctx context.Context, pod *corev1.Pod) (time.Time, error) {
	h := p.lock(pod.UID)
	defer h.mu.Unlock()
	return p.volumes.Refresh(ctx, pod)
}

func (p *podContent) Sandbox(pod *corev1.Pod, attempt uint32) (*runtimeapi.PodSandboxConfig, []warning, error) {
	resolv, err := readResolvConf(nodeResolvConf, resolvedConf)
	if err != nil {
		return nil, nil, fmt.Errorf("the node's resolver: %w", err)
	}
	config, warnings, err := container.Sandbox(container.SandboxInput{
		Pod: pod, HostIPs: p.hostIPs(), ClusterDNS: p.cfg.ClusterDNS, ClusterDomain: p.cfg.ClusterDomain, ResolvConf: resolv,
		CgroupParent: podCgroup(p.cfg.CgroupParent, pod.UID), LogRoot: p.logRoot(), Attempt: attempt, SeccompRoot: p.seccompRoot(),
	})
	var told []warning
	for _, w := range warnings {
		told = append(told, warning(w))
	}
	return config, told, err
}

// readResolvConf returns the node's resolv.conf for Pods; none is no error. systemd-resolved's names
// only its own address on the node's loopback, where a Pod cannot ask: then it is behind, the file in
// which systemd-resolved says whom it asks itself.
func readResolvConf(file, behind string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	servers := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err != nil || !addr.IsLoopback() {
			return text, nil
		}
		servers++
	}
	if other, err := os.ReadFile(behind); err == nil && servers > 0 {
		return other, nil
	}
	return text, nil
}

// podCgroup is the cgroup of a Pod, below the node's own.
func podCgroup(parent string, pod types.UID) string {
	return filepath.Join("/", parent, "pod"+string(pod))
}

func (p *podContent) logRoot() string     { return filepath.Join(p.cfg.kubelet(), "logs", "pods") }
func (p *podContent) seccompRoot() string { return filepath.Join(p.cfg.kubelet(), "seccomp") }

func (p *podContent) Container(ctx context.Context, want containerWanted) (*runtimeapi.ContainerConfig, string, error) {
	pod := want.Pod
	h := p.lock(pod.UID)
	defer h.mu.Unlock()
	services, err := p.services(ctx, pod.Namespace)
	if err != nil {
		return nil, "", err
	}
	in := container.Input{
		Pod: pod, Container: want.Container, PodIPs: want.PodIPs, HostIPs: p.hostIPs(), Node: p.node(), Services: services,
		ConfigMap: func(name string) (*corev1.ConfigMap, error) { return p.sources.ConfigMap(ctx, pod.Namespace, name) },
		Secret:    func(name string) (*corev1.Secret, error) { return p.sources.Secret(ctx, pod.Namespace, name) },
		Attempt:   want.Attempt, Image: imageOf(want), SeccompRoot: p.seccompRoot(),
	}
	env, err := container.Env(in)
	if err != nil {
		return nil, "", refused(err)
	}
	if in.Mounts, err = p.volumes.Mounts(pod, want.Container, h.paths, container.EnvMap(env)); err != nil {
		return nil, "", refused(err)
	}
	if in.TerminationLog, err = p.volumes.TerminationLog(pod.UID, want.Container.Name, want.Attempt); err != nil {
		return nil, "", err
	}
	lost := ""
	if container.MountsHosts(want.Pod, want.Container, len(want.PodIPs) > 0) {
		if lost, err = p.writeHosts(pod, want.PodIPs, h); err != nil {
			return nil, lost, err
		}
		in.HostsFile = p.volumes.HostsPath(pod.UID)
	}
	config, err := container.Config(in)
	if err != nil {
		return nil, lost, refused(err)
	}
	return config, lost, nil
}

func refused(err error) error {
	return &refusal{Reason: container.Reason(err), Message: err.Error()}
}

func imageOf(want containerWanted) container.Image {
	image := container.Image{Ref: want.Image.GetId(), User: want.Container.Image, Username: want.Image.GetUsername()}
	if uid := want.Image.GetUid(); uid != nil {
		image.UID = &uid.Value
	}
	return image
}

// writeHosts writes the Pod's hosts file in place (C4.4); lost tells what an edit of it had added.
func (p *podContent) writeHosts(pod *corev1.Pod, ips []netip.Addr, h *held) (lost string, err error) {
	file := hosts.For(pod, ips, p.cfg.ClusterDomain)
	if pod.Spec.HostNetwork {
		own, err := os.ReadFile(nodeHosts)
		if err != nil {
			return "", fmt.Errorf("the node's hosts file: %w", err)
		}
		file = hosts.ForHostNetwork(pod, own)
	}
	next := hosts.Render(file)
	found, err := p.volumes.WriteHosts(pod.UID, next)
	if err != nil {
		return "", fmt.Errorf("the pod's hosts file: %w", err)
	}
	if found != nil {
		if lines := hosts.Lost(found, h.hosts, next); len(lines) > 0 {
			lost = hosts.LostMessage(lines)
		}
	}
	h.hosts = next
	return lost, nil
}

func (p *podContent) TerminationMessage(pod types.UID, name string, attempt uint32) string {
	text, err := p.volumes.TerminationMessage(pod, name, attempt)
	if err != nil {
		return fmt.Sprintf("Error reading termination message: %v", err)
	}
	return text
}

func (p *podContent) Log(pod *corev1.Pod, name string, attempt uint32) string {
	return filepath.Join(container.LogDirectory(p.logRoot(), pod), container.LogPath(name, attempt))
}

func (p *podContent) RemoveVolumes(pod types.UID) error {
	h := p.lock(pod)
	defer h.mu.Unlock()
	if err := firstError(p.volumes.Teardown(pod), removeCgroups(podCgroup(p.cfg.CgroupParent, pod))); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, pod)
	return nil
}

func (p *podContent) RemoveLogs(pod *corev1.Pod) error {
	return os.RemoveAll(container.LogDirectory(p.logRoot(), pod))
}

func (p *podContent) Known() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(p.cfg.kubelet(), "pods"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []types.UID
	for _, e := range entries {
		all = append(all, types.UID(e.Name()))
	}
	return all, err
}

// removeCgroups removes a Pod's cgroup from every hierarchy: the runtime removes those of containers
// and leaves their parent.
func removeCgroups(cgroup string) error {
	found, err := filepath.Glob("/sys/fs/cgroup/*" + cgroup)
	if err != nil {
		return err
	}
	for _, dir := range append(found, "/sys/fs/cgroup"+cgroup) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the pod's cgroup: %w", err)
		}
	}
	return nil
}

// listed gives Services from an informer's lister, once synced is closed.
func listed(lister listerscorev1.ServiceLister, synced <-chan struct{}) servicesOf {
	return func(ctx context.Context, namespace string) ([]*corev1.Service, error) {
		select {
		case <-synced:
		case <-ctx.Done():
			return nil, fmt.Errorf("services have not yet been read at least once, cannot construct envvars: %w", ctx.Err())
		}
		services, err := lister.Services(namespace).List(labels.Everything())
		if err != nil || namespace == corev1.NamespaceDefault {
			return services, err
		}
		if kubernetes, err := lister.Services(corev1.NamespaceDefault).Get("kubernetes"); err == nil {
			services = append(services, kubernetes)
		}
		return services, nil
	}
}
