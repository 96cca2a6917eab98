package node

import (
	"context"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/duetk8s/duet/controllers/listen"
)

// object names a ConfigMap or Secret.
type object struct {
	secret          bool
	namespace, name string
}

// sources gives Pods what they name: each ConfigMap and Secret is watched by itself while a Pod of
// this node names it. A node may see no others.
type sources struct {
	client clientset.Interface
	// running are the watches.
	running sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context //nolint:containedctx // of all watches: they begin when a Pod comes
	watched map[object]*watched
	pods    map[types.UID][]object
}

// watched is one object that is watched.
type watched struct {
	store  cache.Store
	synced func() bool
	stop   context.CancelFunc
	users  map[types.UID]func()
}

func newSources(ctx context.Context, client clientset.Interface) *sources {
	return &sources{client: client, ctx: ctx, watched: map[object]*watched{}, pods: map[types.UID][]object{}}
}

// Use watches what a Pod names.
func (s *sources) Use(pod *corev1.Pod, changed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range named(pod) {
		w := s.watched[o]
		if w == nil {
			w = s.watch(o)
			s.watched[o] = w
		}
		w.users[pod.UID] = changed
		s.pods[pod.UID] = append(s.pods[pod.UID], o)
	}
}

// Drop ends what only that Pod needed.
func (s *sources) Drop(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.pods[pod] {
		w := s.watched[o]
		if w == nil {
			continue
		}
		delete(w.users, pod)
		if len(w.users) == 0 {
			w.stop()
			delete(s.watched, o)
		}
	}
	delete(s.pods, pod)
}

// watch begins to follow one object. The caller holds mu.
func (s *sources) watch(o object) *watched {
	w := &watched{users: map[types.UID]func(){}}
	ctx, stop := context.WithCancel(s.ctx)
	w.stop = stop
	var kind runtime.Object = &corev1.ConfigMap{}
	if o.secret {
		kind = &corev1.Secret{}
	}
	told := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, changed := range w.users {
			changed()
		}
	}
	var informer cache.Controller
	w.store, informer = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: s.listWatch(o), ObjectType: kind,
		Handler: listen.Keys(func(string) { told() }),
	})
	w.synced = informer.HasSynced
	s.running.Go(func() { informer.RunWithContext(ctx) })
	return w
}

func (s *sources) listWatch(o object) cache.ListerWatcher {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, o.name).String()
	core := s.client.CoreV1()
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			if o.secret {
				return core.Secrets(o.namespace).List(ctx, options)
			}
			return core.ConfigMaps(o.namespace).List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			if o.secret {
				return core.Secrets(o.namespace).Watch(ctx, options)
			}
			return core.ConfigMaps(o.namespace).Watch(ctx, options)
		},
	}, s.client)
}

// cached gives what a watch knows. It is no proof of absence: that is asked for.
func (s *sources) cached(o object) any {
	s.mu.Lock()
	w := s.watched[o]
	s.mu.Unlock()
	if w == nil || !w.synced() {
		return nil
	}
	found, _, err := w.store.GetByKey(o.namespace + "/" + o.name)
	if err != nil {
		return nil
	}
	return found
}

func (s *sources) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if found, ok := s.cached(object{false, namespace, name}).(*corev1.ConfigMap); ok {
		return found, nil
	}
	return allowed(ctx, func() (*corev1.ConfigMap, error) {
		return s.client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

func (s *sources) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	if found, ok := s.cached(object{true, namespace, name}).(*corev1.Secret); ok {
		return found, nil
	}
	return allowed(ctx, func() (*corev1.Secret, error) {
		return s.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
}

func (s *sources) Token(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return allowed(ctx, func() (*authenticationv1.TokenRequest, error) {
		return s.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	})
}

// A node may have what its Pods name. The authorizer learns of a binding at about the time when the
// node does: a refusal right then is no refusal.
const (
	firstAsk = 5 * time.Millisecond
	lastAsk  = 320 * time.Millisecond
)

// allowed asks again while the API server still has to learn that the node may.
func allowed[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for wait := firstAsk; ; wait *= 2 {
		answer, err := ask()
		if !apierrors.IsForbidden(err) || wait > lastAsk {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(wait):
		}
	}
}

// wait returns when all watches have ended: after the context of newSources.
func (s *sources) wait() { s.running.Wait() }

// named gives all that a Pod names, once each.
func named(pod *corev1.Pod) []object {
	all := map[object]bool{}
	add := func(secret bool, name string) {
		if name != "" {
			all[object{secret, pod.Namespace, name}] = true
		}
	}
	for _, ref := range pod.Spec.ImagePullSecrets {
		add(true, ref.Name)
	}
	for i := range pod.Spec.Volumes {
		namedByVolume(&pod.Spec.Volumes[i], add)
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			namedByContainer(&list[i], add)
		}
	}
	objects := make([]object, 0, len(all))
	for o := range all {
		objects = append(objects, o)
	}
	return objects
}

func namedByVolume(v *corev1.Volume, add func(secret bool, name string)) {
	switch {
	case v.ConfigMap != nil:
		add(false, v.ConfigMap.Name)
	case v.Secret != nil:
		add(true, v.Secret.SecretName)
	case v.Projected != nil:
		for _, source := range v.Projected.Sources {
			if source.ConfigMap != nil {
				add(false, source.ConfigMap.Name)
			}
			if source.Secret != nil {
				add(true, source.Secret.Name)
			}
		}
	}
}

func namedByContainer(c *corev1.Container, add func(secret bool, name string)) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			add(false, from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			add(true, from.SecretRef.Name)
		}
	}
	for _, env := range c.Env {
		if env.ValueFrom == nil {
			continue
		}
		if ref := env.ValueFrom.ConfigMapKeyRef; ref != nil {
			add(false, ref.Name)
		}
		if ref := env.ValueFrom.SecretKeyRef; ref != nil {
			add(true, ref.Name)
		}
	}
}
