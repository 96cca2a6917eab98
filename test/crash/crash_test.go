// Package crash kills the real server at random moments, under clients that write all the time, and
// looks at what is left: every acknowledged write, no refused one, and Services, IPAddresses and
// claims of node ports that agree to the last one.
//
// SIGKILL does not lose what the kernel has but not yet written to the disk: that etcd waits for the
// disk before it answers is etcd's own promise, tested there.
//
// DUET_CRASH_KILLS is how often (8), DUET_CRASH_SEED repeats the choices of a run; when the kernel
// lets whom run is never the same. DUET is the program to test.
package crash

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/test/eventually"
)

const clients = 16

// number reads a whole number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

func TestCrash(t *testing.T) {
	kills := int(number(t, "DUET_CRASH_KILLS", 8))
	seed := number(t, "DUET_CRASH_SEED", rand.Uint64())
	t.Logf("DUET_CRASH_KILLS=%d DUET_CRASH_SEED=%d", kills, seed)
	moments := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, t.TempDir())
	s.start(t)
	s.awaitReady(t)
	var all []*client
	for i := range clients {
		all = append(all, newClient(t, s, i))
	}
	for kill := range kills {
		for _, c := range all {
			c.rand = rand.New(rand.NewPCG(seed, uint64(1+kill*clients+c.index)))
		}
		during(t, all, 50*time.Millisecond+time.Duration(moments.Int64N(int64(time.Second))), s.kill)
		d := readDisk(t, s.dir)
		settle(t, kill, all, &d)
		s.start(t)
		if moments.IntN(4) == 0 { // die while starting, too
			time.Sleep(time.Duration(moments.Int64N(int64(500 * time.Millisecond))))
			s.kill()
			s.start(t)
		}
		s.awaitReady(t)
		compareAPI(t, kill, all[0].api, &d)
		if t.Failed() {
			break
		}
	}
	tally(t, all)
	drain(t, s, all)
}

// settle holds the disk against itself and against what the clients know.
func settle(t *testing.T, kill int, all []*client, d *disk) {
	t.Helper()
	for _, f := range d.disagreements() {
		t.Errorf("kill %d: %s", kill, f)
	}
	known := map[string]bool{"default/kubernetes": true, "kube-system/kube-dns": true}
	for _, c := range all {
		for _, w := range c.wrong {
			t.Errorf("kill %d: %s", kill, w)
		}
		c.wrong = nil
		for _, e := range c.entries {
			known[e.namespace+"/"+e.name] = true
			if err := e.settle(d.services[e.namespace+"/"+e.name]); err != nil {
				t.Errorf("kill %d: %v", kill, err)
			}
		}
		if c.band != nil {
			if err := c.band.settle(d.ranges[c.band.name]); err != nil {
				t.Errorf("kill %d: %v", kill, err)
			}
		}
	}
	for name := range d.services {
		if !known[name] {
			t.Errorf("kill %d: Service %s is nobody's", kill, name)
		}
	}
}

// compareAPI wants the API to show what was on the disk.
func compareAPI(t *testing.T, kill int, a api, d *disk) {
	t.Helper()
	services, addresses := list(t, a)
	if len(services.Items) != len(d.services) || len(addresses.Items) != len(d.addresses) {
		t.Errorf("kill %d: the API has %d Services and %d IPAddresses, the disk %d and %d",
			kill, len(services.Items), len(addresses.Items), len(d.services), len(d.addresses))
	}
	for _, svc := range services.Items {
		if err := same(d.services[svc.Namespace+"/"+svc.Name], &svc); err != nil {
			t.Errorf("kill %d: Service %s/%s in the API is not that on the disk: %v", kill, svc.Namespace, svc.Name, err)
		}
	}
	after := disk{services: map[string]*corev1.Service{}, ranges: d.ranges, ports: d.ports}
	for i := range services.Items {
		after.services[services.Items[i].Namespace+"/"+services.Items[i].Name] = &services.Items[i]
	}
	for i := range addresses.Items {
		after.addresses = append(after.addresses, &addresses.Items[i])
	}
	for _, f := range after.disagreements() {
		t.Errorf("kill %d: in the API: %s", kill, f)
	}
}

func list(t *testing.T, a api) (*corev1.ServiceList, *networkingv1.IPAddressList) {
	t.Helper()
	services, addresses := &corev1.ServiceList{}, &networkingv1.IPAddressList{}
	if err := a.core.Get().Resource("services").Do(t.Context()).Into(services); err != nil {
		t.Fatal(err)
	}
	if err := a.networking.Get().Resource("ipaddresses").Do(t.Context()).Into(addresses); err != nil {
		t.Fatal(err)
	}
	return services, addresses
}

// tally says what the run was worth.
func tally(t *testing.T, all []*client) {
	t.Helper()
	counts := map[string]int{}
	for _, c := range all {
		for what, n := range c.counts {
			counts[what] += n
		}
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d %s", counts[what], what)
	}
	for _, what := range []string{"create", "upgrade", "downgrade", "retype", "replace", "delete", "deletecollection", "unanswered", "create ServiceCIDR"} {
		if counts[what] == 0 {
			t.Errorf("no %s in the whole run: it says nothing about that", what)
		}
	}
}

// drain deletes everything: what remains is what a new cluster has.
func drain(t *testing.T, s *server, all []*client) {
	t.Helper()
	for _, c := range all {
		deleteAll(t, c)
	}
	eventually.Is(t, patience, "ServiceCIDRs left without any Service, with the default one", func() int {
		ranges := &networkingv1.ServiceCIDRList{}
		if err := all[0].networking.Get().Resource("servicecidrs").Do(t.Context()).Into(ranges); err != nil {
			t.Fatal(err)
		}
		return len(ranges.Items)
	}, 1)
	s.stop(t)
	d := readDisk(t, s.dir)
	for _, f := range d.disagreements() {
		t.Error("at the end: ", f)
	}
	if len(d.services) != 2 || len(d.ports) != 0 || len(d.addresses) != 3 { // kubernetes has one address, kube-dns two
		t.Errorf("at the end: %d Services, %d IPAddresses, claims %v; want 2, 3, none", len(d.services), len(d.addresses), d.ports)
	}
	if temps, err := filepath.Glob(filepath.Join(s.dir, "pki", ".*")); err != nil || len(temps) > 20 {
		t.Errorf("unfinished files pile up in pki: %d %v", len(temps), err)
	}
}

func deleteAll(t *testing.T, c *client) {
	t.Helper()
	c.rand = rand.New(rand.NewPCG(0, 0))
	for _, e := range c.entries {
		if e.acked != nil && len(e.acked.Finalizers) > 0 && c.unhook(context.WithoutCancel(t.Context()), e) != acknowledged {
			t.Errorf("finalizers of %s/%s stay", e.namespace, e.name)
		}
	}
	for _, group := range []string{"a", "b", "c"} {
		err := c.core.Delete().Namespace(c.namespace()).Resource("services").Param("labelSelector", "group="+group).Do(t.Context()).Error()
		if err != nil {
			t.Errorf("delete Services of %s: %v", c.namespace(), err)
		}
	}
	if c.band != nil && c.band.uid != "" {
		if err := c.networking.Delete().Resource("servicecidrs").Name(c.band.name).Do(t.Context()).Error(); err != nil {
			t.Logf("delete ServiceCIDR %s: %v", c.band.name, err) // it may have gone by itself
		}
	}
	for _, w := range c.wrong {
		t.Error("at the end: ", w)
	}
}
