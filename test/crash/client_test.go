package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// outcome of a request.
type outcome int

const (
	acknowledged outcome = iota
	refused              // the server said no
	undelivered          // nobody listened
	unknown              // no answer
)

// api is one connection to the server, with the administrator's certificate and protobuf.
type api struct{ core, networking *rest.RESTClient }

func newAPI(t *testing.T, kubeconfig string) api {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Timeout = -1, patience
	config.Dial = (&net.Dialer{}).DialContext // its own, so that the connection is not shared
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	of := func(path string, gv schema.GroupVersion) *rest.RESTClient {
		config := rest.CopyConfig(config)
		config.APIPath, config.GroupVersion = path, &gv
		c, err := rest.RESTClientForConfigAndClient(config, client)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return api{of("/api", corev1.SchemeGroupVersion), of("/apis", networkingv1.SchemeGroupVersion)}
}

// client owns a namespace of Services, and some own a ServiceCIDR.
type client struct {
	api
	index   int
	rand    *rand.Rand
	entries []*entry
	band    *band // nil for most
	writes  int   // stamps so far

	counts map[string]int
	wrong  []string // what must never be
}

// namesPerClient is few, so that each name lives through many writes.
const namesPerClient = 5

func newClient(t *testing.T, s *server, index int) *client {
	t.Helper()
	c := &client{api: newAPI(t, s.dir+"/kubeconfig"), index: index, counts: map[string]int{}}
	for i := range namesPerClient {
		c.entries = append(c.entries, &entry{namespace: c.namespace(), name: fmt.Sprintf("svc-%d", i)})
	}
	if index%4 == 0 {
		c.band = &band{name: fmt.Sprintf("extra-%02d", index), second: index}
	}
	err := c.core.Post().Resource("namespaces").Body(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace()}}).
		Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) namespace() string { return fmt.Sprintf("crash-%02d", c.index) }

// work writes until the server does not answer or ctx ends.
func (c *client) work(ctx context.Context) {
	for ctx.Err() == nil {
		var result outcome
		switch n := c.rand.IntN(100); {
		case c.band != nil && n < 8:
			result = c.changeBand(ctx)
		case n < 12:
			result = c.deleteGroup(ctx)
		case n < 20:
			result = c.read(ctx, c.entries[c.rand.IntN(len(c.entries))])
		default:
			result = c.change(ctx, c.entries[c.rand.IntN(len(c.entries))])
		}
		if result == undelivered || result == unknown {
			return
		}
	}
}

// ask sends a request and classifies the answer. A no that the model does not foresee is wrong.
func (c *client) ask(ctx context.Context, what string, r *rest.Request, into runtime.Object) outcome {
	result := r.MaxRetries(0).Do(ctx)
	err := result.Error()
	if err == nil && into != nil {
		err = result.Into(into)
	}
	status := apierrors.APIStatus(nil)
	switch {
	case err == nil:
		c.counts["acknowledged"]++
		return acknowledged
	case errors.Is(err, syscall.ECONNREFUSED):
		c.counts["not delivered"]++
		return undelivered
	case !errors.As(err, &status):
		c.counts["unanswered"]++
		return unknown
	case status.Status().Code == http.StatusGatewayTimeout: // etcd may have done it nevertheless
		c.complain("%s: %v", what, err)
		return unknown
	case !foreseen(status.Status()):
		c.complain("%s: refused with %d: %v", what, status.Status().Code, err)
	}
	c.counts["refused "+strconv.Itoa(int(status.Status().Code))]++
	return refused
}

// foreseen are the refusals that clients provoke: nonsense, claims of others, full ranges.
func foreseen(s metav1.Status) bool {
	return s.Code == http.StatusUnprocessableEntity ||
		s.Code == http.StatusInternalServerError && strings.Contains(s.Message, "range is full")
}

func (c *client) complain(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("client %d: ", c.index)+fmt.Sprintf(format, args...))
}

// attempt sends a write of e and remembers what is known then.
func (c *client) attempt(ctx context.Context, e *entry, w *write, r *rest.Request) outcome {
	e.open = w
	out := runtime.Object(&corev1.Service{})
	if w.deletes {
		out = nil // a Status or the object
	}
	result := c.ask(ctx, w.what+" "+e.namespace+"/"+e.name, r, out)
	switch result {
	case unknown: // stays open
	case refused, undelivered:
		e.open = nil
	case acknowledged:
		c.counts[w.what]++
		e.open = nil
		e.acked = c.answered(e, w, out)
	}
	return result
}

// answered is the object after an acknowledged write.
func (c *client) answered(e *entry, w *write, out runtime.Object) *corev1.Service {
	switch {
	case w.deletes:
		return removed(e.acked)
	case w.unhooks && e.acked.DeletionTimestamp != nil:
		return nil
	}
	svc := out.(*corev1.Service)
	if err := w.stored(e.acked, svc); err != nil {
		c.complain("%s %s/%s was acknowledged, but %v", w.what, e.namespace, e.name, err)
	}
	return svc
}

// read wants the last acknowledged write.
func (c *client) read(ctx context.Context, e *entry) outcome {
	svc := &corev1.Service{}
	err := c.core.Get().Namespace(e.namespace).Resource("services").Name(e.name).MaxRetries(0).Do(ctx).Into(svc)
	switch {
	case apierrors.IsNotFound(err):
		svc = nil
	case err != nil:
		return unknown
	}
	if err := same(e.acked, svc); err != nil {
		c.complain("read %s/%s: %v", e.namespace, e.name, err)
	}
	c.counts["read"]++
	return acknowledged
}

// deleteGroup removes all Services of the namespace with one label: each deletion may have happened
// or not if there is no answer.
func (c *client) deleteGroup(ctx context.Context) outcome {
	group := c.group()
	w := &write{what: "deletecollection", deletes: true}
	var hit []*entry
	for _, e := range c.entries {
		if e.acked != nil && e.acked.Labels["group"] == group {
			e.open = w
			hit = append(hit, e)
		}
	}
	r := c.core.Delete().Namespace(c.namespace()).Resource("services").Param("labelSelector", "group="+group)
	result := c.ask(ctx, w.what+" "+c.namespace(), r, nil)
	switch result {
	case unknown, refused: // the latter never foreseen; some may be gone
		return unknown
	case undelivered:
		for _, e := range hit {
			e.open = nil
		}
	case acknowledged:
		c.counts[w.what]++
		for _, e := range hit {
			e.acked, e.open = removed(e.acked), nil
		}
	}
	return result
}

func (c *client) group() string { return []string{"a", "b", "c"}[c.rand.IntN(3)] }

// stamp returns a new one; stamps never repeat in a run.
func (c *client) stamp() string {
	c.writes++
	return fmt.Sprintf("%d-%d", c.index, c.writes)
}

// patch is a merge patch of e with a stamp.
func (c *client) patch(e *entry, w *write, spec, more string) *rest.Request {
	if w.stamp == "" {
		w.stamp = c.stamp()
	}
	body := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}%s},"spec":{%s}}`, stampKey, w.stamp, more, spec)
	return c.core.Patch(types.MergePatchType).Namespace(e.namespace).Resource("services").Name(e.name).Body([]byte(body))
}

// during runs all clients until they have no answers any more; kill is called after a while.
func during(t *testing.T, clients []*client, while time.Duration, kill func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{}, len(clients))
	for _, c := range clients {
		go func() {
			c.work(ctx)
			done <- struct{}{}
		}()
	}
	time.Sleep(while)
	kill()
	cancelled := time.AfterFunc(patience, cancel)
	defer cancelled.Stop()
	for range clients {
		<-done
	}
}
