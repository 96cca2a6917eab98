package dns

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// reasonInvalid is of the event on a ConfigMap that cannot be used.
const reasonInvalid = "InvalidDNSConfiguration"

// routing keeps routes as the resolv.conf and the ConfigMap say.
type routing struct {
	now atomic.Pointer[routes] // never nil

	mu       sync.Mutex
	settings settings
}

// routes are those of this moment.
func (s *Server) routes() *routes { return s.routing.now.Load() }

// reroute changes the settings and makes routes of them.
func (s *Server) reroute(ctx context.Context, change func(*settings)) {
	s.routing.mu.Lock()
	defer s.routing.mu.Unlock()
	change(&s.routing.settings)
	routes, loops := route(s.routing.settings, s.config.Dial, s.us)
	s.routing.now.Store(routes)
	for _, at := range loops {
		klog.FromContext(ctx).Info("An upstream DNS server is this cluster's own DNS: it is not asked", "upstream", at)
	}
}

// us tells whether a server is the cluster's DNS itself.
func (s *Server) us(at netip.AddrPort) bool {
	if slices.Contains(s.config.Addresses, at.Addr()) && at.Port() == s.config.Port {
		return true
	}
	svc := s.source.ServiceAt(at.Addr())
	return svc != nil && svc.Namespace == serviceNamespace && svc.Name == serviceKubeDNS
}

// configMaps watches the one ConfigMap that may say who else is asked.
func configMaps(client kubernetes.Interface) cache.SharedIndexInformer {
	return coreinformers.NewFilteredConfigMapInformer(client, serviceNamespace, 0, nil, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, configMap).String()
	})
}

// heed takes over what the ConfigMap says, if all of it can be used.
func (s *Server) heed(ctx context.Context, old, now *corev1.ConfigMap) {
	if now == nil {
		s.reroute(ctx, func(all *settings) { all.stubs, all.upstream = nil, nil })
		return
	}
	if old != nil && old.ResourceVersion == now.ResourceVersion {
		return // read again, not written again
	}
	wanted, errs := custom(now.Data, s.zone.Name, s.us)
	if err := errs.ToAggregate(); err != nil {
		s.deps.Events.Eventf(now, corev1.EventTypeWarning, reasonInvalid, "%v; what was valid before stays in use", err)
		return
	}
	s.reroute(ctx, func(all *settings) { all.stubs, all.upstream = wanted.stubs, wanted.upstream })
}

// heeding calls heed for what an informer tells.
func (s *Server) heeding(ctx context.Context) cache.ResourceEventHandlerFuncs {
	mine := func(obj any) *corev1.ConfigMap {
		m, ok := obj.(*corev1.ConfigMap)
		if !ok || m.Name != configMap {
			return nil
		}
		return m
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if m := mine(obj); m != nil {
				s.heed(ctx, nil, m)
			}
		},
		UpdateFunc: func(old, obj any) {
			if m := mine(obj); m != nil {
				s.heed(ctx, mine(old), m)
			}
		},
		DeleteFunc: func(any) { s.heed(ctx, nil, nil) },
	}
}

// readResolvConf takes over the file's name servers; without the file there are none.
func (s *Server) readResolvConf(ctx context.Context) {
	text, err := os.ReadFile(s.config.ResolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		klog.FromContext(ctx).Error(err, "Cannot read which DNS servers to ask for names outside the cluster")
		return
	}
	list := nameservers(text)
	s.routing.mu.Lock()
	same := slices.Equal(list, s.routing.settings.resolvConf)
	s.routing.mu.Unlock()
	if !same {
		s.reroute(ctx, func(all *settings) { all.resolvConf = list })
	}
}

// followResolvConf keeps to the file's name servers until ctx ends. A laptop changes them with every
// network it joins, mostly by replacing the file or what it links to.
func (s *Server) followResolvConf(ctx context.Context) {
	log := klog.FromContext(ctx)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Error(err, "Changes of DNS servers will not be seen", "file", s.config.ResolvConf)
		return
	}
	defer watcher.Close()
	for {
		for _, path := range placesOf(s.config.ResolvConf) {
			_ = watcher.Add(path) // again is no error; a file that is gone comes back through its folder
		}
		s.readResolvConf(ctx)
		select {
		case <-ctx.Done():
			return
		case _, open := <-watcher.Events:
			if !open {
				return
			}
		case err := <-watcher.Errors:
			log.V(2).Info("Changes of DNS servers may have been missed", "file", s.config.ResolvConf, "err", err)
		}
	}
}

// placesOf are the file, what it links to, and the folders of both.
func placesOf(path string) []string {
	places := []string{path, filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		places = append(places, target, filepath.Dir(target))
	}
	return places
}
