package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/duetk8s/duet/lab"
)

// The token that `duet up` makes has one name in every cluster, so a new one replaces the last.
const (
	tokenID       = "duetup"
	tokenLifetime = time.Hour
)

// clusterAPI implements lab.Cluster with the API of a cluster on this machine.
type clusterAPI struct{}

func (clusterAPI) client(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	config.QPS = -1 // a few requests, and nobody else to be fair to
	return kubernetes.NewForConfig(config)
}

func (a clusterAPI) Invite(ctx context.Context, kubeconfig string) (string, error) {
	client, err := a.client(kubeconfig)
	if err != nil {
		return "", err
	}
	secret := strings.ToLower(rand.Text())[:16]
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	object := bootstrapToken(tokenID, secret, "made by duet up, for the nodes of the lab")
	object.StringData["expiration"] = time.Now().Add(tokenLifetime).UTC().Format(time.RFC3339)
	return tokenID + "." + secret, put(ctx, secrets, object)
}

// put creates a Secret or replaces it. The last one's time may be over, and then the server deletes it
// just when it has started.
func put(ctx context.Context, secrets corev1client.SecretInterface, object *corev1.Secret) error {
	for {
		_, err := secrets.Create(ctx, object, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		_, err = secrets.Update(ctx, object, metav1.UpdateOptions{})
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
}

func (a clusterAPI) Forget(ctx context.Context, kubeconfig string, nodes []string) error {
	client, err := a.client(kubeconfig)
	for _, node := range nodes {
		if err == nil {
			err = client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
		}
		if apierrors.IsNotFound(err) {
			err = nil
		}
	}
	return err
}

func (a clusterAPI) List(ctx context.Context, kubeconfig string) (map[string]lab.NodeInfo, error) {
	client, err := a.client(kubeconfig)
	if err != nil {
		return nil, err
	}
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]lab.NodeInfo{}
	for i := range list.Items {
		node := &list.Items[i]
		info := lab.NodeInfo{
			Health:  nodeHealth(node),
			Version: node.Status.NodeInfo.KubeletVersion, Runtime: node.Status.NodeInfo.ContainerRuntimeVersion,
		}
		for _, text := range node.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(text); err == nil {
				info.PodCIDRs = append(info.PodCIDRs, p)
			}
		}
		out[node.Name] = info
	}
	return out, nil
}

// nodeHealth returns "Ready", or why the node is not.
func nodeHealth(node *corev1.Node) string {
	for _, c := range node.Status.Conditions {
		switch {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			return "Ready"
		default:
			return strings.TrimSpace(fmt.Sprintf("not Ready: %s %s", c.Reason, c.Message))
		}
	}
	return "not Ready: it has not said anything yet"
}

func (a clusterAPI) Await(ctx context.Context, kubeconfig string, nodes map[string]time.Time, ready func(string)) error {
	client, err := a.client(kubeconfig)
	if err != nil {
		return err
	}
	w := &waiting{nodes: maps.Clone(nodes), health: map[string]string{}, alive: map[string]time.Time{}, ready: ready}
	for len(w.nodes) > 0 {
		err := w.watch(ctx, client)
		switch {
		case ctx.Err() != nil:
			return w.missing(context.Cause(ctx))
		case err != nil:
			return err
		}
	}
	return nil
}

// waiting is what is known of the nodes that are waited for.
type waiting struct {
	nodes  map[string]time.Time // those left
	health map[string]string
	alive  map[string]time.Time // last sign of life
	ready  func(string)
}

// watch follows nodes and their Leases until none is left, or a watch ends and must be begun again.
func (w *waiting) watch(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fromStart := metav1.ListOptions{ResourceVersion: "0"} // begins with what there is
	nodes, err := client.CoreV1().Nodes().Watch(ctx, fromStart)
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	defer nodes.Stop()
	leases, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Watch(ctx, fromStart)
	if err != nil {
		return fmt.Errorf("watch the nodes' leases: %w", err)
	}
	defer leases.Stop()
	for len(w.nodes) > 0 {
		var event watch.Event
		var open bool
		select {
		case event, open = <-nodes.ResultChan():
		case event, open = <-leases.ResultChan():
		}
		if !open || event.Type == watch.Error {
			return nil
		}
		w.see(event)
	}
	return nil
}

// see takes one event in.
func (w *waiting) see(event watch.Event) {
	var name string
	switch o := event.Object.(type) {
	case *corev1.Node:
		name = o.Name
		w.health[name] = nodeHealth(o)
		if event.Type == watch.Deleted {
			delete(w.health, name)
		}
	case *coordinationv1.Lease:
		name = o.Name
		if o.Spec.RenewTime != nil {
			w.alive[name] = o.Spec.RenewTime.Time
		}
	}
	// Leases are written by the node's clock, which in the lab is ours.
	since, waited := w.nodes[name]
	if waited && w.health[name] == "Ready" && !w.alive[name].Before(since.Truncate(time.Microsecond)) {
		delete(w.nodes, name)
		w.ready(name)
	}
}

// missing says which nodes are not Ready, and why.
func (w *waiting) missing(cause error) error {
	if errors.Is(cause, context.Canceled) {
		cause = errors.New("interrupted")
	}
	var list []string
	for _, node := range slices.Sorted(maps.Keys(w.nodes)) {
		why := w.health[node]
		switch why {
		case "":
			why = "has not joined"
		case "Ready":
			why = "has not come back"
		default:
			why = "is " + why
		}
		list = append(list, node+" "+why)
	}
	return fmt.Errorf("%w: %s", cause, strings.Join(list, "; "))
}
