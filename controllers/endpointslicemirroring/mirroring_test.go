//nolint:staticcheck // Endpoints are deprecated, and this is the package that reads them
package endpointslicemirroring

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/test/background"
	"github.com/duetk8s/duet/test/eventually"
)

func endpoints(addresses, notReady string) *corev1.Endpoints {
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}}}
	for a := range strings.FieldsSeq(addresses) {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: a})
	}
	for a := range strings.FieldsSeq(notReady) {
		subset.NotReadyAddresses = append(subset.NotReadyAddresses, corev1.EndpointAddress{IP: a})
	}
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "s", UID: "1", Labels: map[string]string{"x": "y"},
			Annotations: map[string]string{"a": "b", corev1.LastAppliedConfigAnnotation: "{}", corev1.EndpointsLastChangeTriggerTime: "now"},
		},
		Subsets: []corev1.EndpointSubset{subset},
	}
}

func shown(list []discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range list {
		text := string(s.AddressType)
		for _, e := range s.Endpoints {
			mark := ""
			if !*e.Conditions.Ready {
				mark = "!"
			}
			text += " " + mark + e.Addresses[0]
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

// D4.8, from beginning to end.
func TestStory(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}
	client, events := fake.NewClientset(svc, endpoints("192.0.2.1 2001:db8::1 x", "192.0.2.2")), record.NewFakeRecorder(10)
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Deps{
		Client: client, Services: factory.Core().V1().Services(), Endpoints: factory.Core().V1().Endpoints(),
		Slices: factory.Discovery().V1().EndpointSlices(), Events: events,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	background.Run(t, factory, c.Run)
	api := client.DiscoveryV1().EndpointSlices("default")
	becomes := func(want string) (list []discoveryv1.EndpointSlice) {
		t.Helper()
		eventually.Is(t, 10*time.Second, "slices", func() string {
			all, err := api.List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			list = all.Items
			return shown(list)
		}, want)
		return list
	}
	list := becomes("IPv4 192.0.2.1 !192.0.2.2; IPv6 2001:db8::1")
	if got := fmt.Sprint(list[0].Labels, list[0].Annotations, list[0].OwnerReferences[0].Kind); got !=
		"map[endpointslice.kubernetes.io/managed-by:endpointslicemirroring-controller.k8s.io kubernetes.io/service-name:s x:y] map[a:b]Endpoints" {
		t.Error(got)
	}
	if got := <-events.Events; got != "Warning InvalidIPAddress Skipped 1 invalid IP addresses when mirroring to EndpointSlices" {
		t.Error(got)
	}
	update := func(e *corev1.Endpoints) {
		t.Helper()
		if _, err := client.CoreV1().Endpoints("default").Update(ctx, e, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// A warning tells of a state, not of each look at it: slices that come back and other labels are
	// no news, more bad addresses are, and so is the same again after it was well.
	quiet := func(why string) {
		t.Helper()
		select {
		case e := <-events.Events:
			t.Errorf("%s: one more event: %s", why, e)
		default:
		}
	}
	for _, s := range list {
		if err := api.Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		becomes("IPv4 192.0.2.1 !192.0.2.2; IPv6 2001:db8::1")
	}
	update(endpoints("192.0.2.1 2001:db8::1 x", "192.0.2.9"))
	becomes("IPv4 192.0.2.1 !192.0.2.9; IPv6 2001:db8::1")
	quiet("the same warning")
	update(endpoints("192.0.2.1 2001:db8::1 x y", "192.0.2.9"))
	if got := <-events.Events; got != "Warning InvalidIPAddress Skipped 2 invalid IP addresses when mirroring to EndpointSlices" {
		t.Error(got)
	}
	update(endpoints("192.0.2.3", ""))
	becomes("IPv4 192.0.2.3")
	update(endpoints("192.0.2.3 x y", ""))
	if got := <-events.Events; got != "Warning InvalidIPAddress Skipped 2 invalid IP addresses when mirroring to EndpointSlices" {
		t.Error(got)
	}
	update(endpoints("192.0.2.3", ""))
	becomes("IPv4 192.0.2.3")
	if err := api.Delete(ctx, becomes("IPv4 192.0.2.3")[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("IPv4 192.0.2.3")
	skipped := endpoints("192.0.2.3", "")
	skipped.Labels[discoveryv1.LabelSkipMirror] = "true"
	update(skipped)
	becomes("")
	update(endpoints("192.0.2.4", ""))
	becomes("IPv4 192.0.2.4")
	svc.Spec.Selector = map[string]string{"app": "web"}
	if _, err := client.CoreV1().Services("default").Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	becomes("")
}

func TestTooMany(t *testing.T) {
	text := ""
	for i := range 1200 {
		text += fmt.Sprintf("10.1.%d.%d ", i/200, i%200)
	}
	slices, tooMany, invalid := desired(endpoints(text, ""))
	for _, s := range slices {
		if len(slices) != 1 || len(s.Endpoints) != 1000 || tooMany != 200 || invalid != 0 {
			t.Errorf("%d slices, %d endpoints, %d too many, %d invalid", len(slices), len(s.Endpoints), tooMany, invalid)
		}
	}
}

// D4.8: which Endpoints are mirrored at all.
func TestMirrored(t *testing.T) {
	plain := &corev1.Service{}
	for _, tt := range []struct {
		name   string
		change func(*corev1.Endpoints)
		svc    *corev1.Service
		want   bool
	}{
		{"a Service without selector", func(*corev1.Endpoints) {}, plain, true},
		{"no Service", func(*corev1.Endpoints) {}, nil, false},
		{"a selector", func(*corev1.Endpoints) {}, &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}, false},
		{"an alias", func(*corev1.Endpoints) {}, &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}}, false},
		{"skipped", func(e *corev1.Endpoints) { e.Labels[discoveryv1.LabelSkipMirror] = "true" }, plain, false},
		{"not skipped", func(e *corev1.Endpoints) { e.Labels[discoveryv1.LabelSkipMirror] = "false" }, plain, true},
		{"a leader's lock", func(e *corev1.Endpoints) { e.Annotations["control-plane.alpha.kubernetes.io/leader"] = "{}" }, plain, false},
		{"being deleted", func(e *corev1.Endpoints) { now := metav1.Now(); e.DeletionTimestamp = &now }, plain, false},
	} {
		e := endpoints("192.0.2.1", "")
		tt.change(e)
		if got := mirrored(e, tt.svc); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// D4.8: a slice for each subset and family; only the condition ready; names and labels stay.
func TestDesired(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   func() *corev1.Endpoints
		want string
	}{
		{"v4", func() *corev1.Endpoints { return endpoints("192.0.2.1", "192.0.2.2") }, "IPv4 192.0.2.1 !192.0.2.2"},
		{"v6", func() *corev1.Endpoints { return endpoints("2001:db8::1", "2001:db8::2") }, "IPv6 2001:db8::1 !2001:db8::2"},
		{"v4+v6", func() *corev1.Endpoints { return endpoints("192.0.2.1 2001:db8::1", "") }, "IPv4 192.0.2.1; IPv6 2001:db8::1"},
		{"v6+v4", func() *corev1.Endpoints { return endpoints("2001:DB8:0::1 192.0.2.1", "") }, "IPv4 192.0.2.1; IPv6 2001:db8::1"},
		{"none", func() *corev1.Endpoints { return endpoints("", "") }, ""},
		{"subsets with other ports", func() *corev1.Endpoints {
			e, more := endpoints("192.0.2.1", ""), endpoints("192.0.2.1 2001:db8::1", "")
			more.Subsets[0].Ports[0].Port = 81
			e.Subsets = append(e.Subsets, more.Subsets...)
			return e
		}, "IPv4 192.0.2.1; IPv4 192.0.2.1; IPv6 2001:db8::1"},
		{"a host name", func() *corev1.Endpoints {
			e := endpoints("192.0.2.1", "")
			e.Subsets[0].Addresses[0].Hostname = "a"
			return e
		}, "IPv4 192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in()
			made, _, _ := desired(in)
			var list []discoveryv1.EndpointSlice
			for _, s := range made {
				list = append(list, *s)
				for _, e := range s.Endpoints {
					if c := e.Conditions; c.Ready == nil || c.Serving != nil || c.Terminating != nil {
						t.Errorf("conditions %v", c)
					}
					if host := in.Subsets[0].Addresses; len(host) > 0 && host[0].Hostname != "" && (e.Hostname == nil || *e.Hostname != host[0].Hostname) {
						t.Errorf("host name %v", e.Hostname)
					}
				}
			}
			if got := shown(list); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
