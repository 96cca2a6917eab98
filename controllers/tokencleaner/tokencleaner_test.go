package tokencleaner

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/duetk8s/duet/test/eventually"
)

// TestClean: which Secrets are deleted at once, and which an hour later.
func TestClean(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	client := fake.NewClientset()
	for name, s := range map[string]struct{ kind, end string }{
		"over":       {string(corev1.SecretTypeBootstrapToken), "2026-01-01T11:59:59Z"},
		"zone":       {string(corev1.SecretTypeBootstrapToken), "2026-01-01T13:30:00+02:00"},
		"soon":       {string(corev1.SecretTypeBootstrapToken), "2026-01-01T12:30:00Z"},
		"later":      {string(corev1.SecretTypeBootstrapToken), "2026-01-02T00:00:00Z"},
		"endless":    {string(corev1.SecretTypeBootstrapToken), ""},
		"unreadable": {string(corev1.SecretTypeBootstrapToken), "tomorrow"},
		"no-token":   {"Opaque", "2026-01-01T00:00:00Z"},
	} {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-system", UID: "u", ResourceVersion: "7"},
			Type:       corev1.SecretType(s.kind), Data: map[string][]byte{"expiration": []byte(s.end)},
		}
		if err := client.Tracker().Add(secret); err != nil {
			t.Fatal(err)
		}
	}
	clock := clocktesting.NewFakePassiveClock(now)
	c, err := New(Deps{Client: client, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go c.informer.RunWithContext(ctx)
	c.listener.Synced(ctx)
	deleted := func() string {
		client.ClearActions()
		for _, key := range []string{"endless", "later", "no-token", "over", "soon", "unreadable", "zone", "none"} {
			if err := c.sync(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
		var out []string
		for _, a := range client.Actions() {
			if d, ok := a.(clienttesting.DeleteActionImpl); ok {
				out = append(out, d.Name)
				if p := d.DeleteOptions.Preconditions; *p.UID != "u" || *p.ResourceVersion != "7" {
					t.Errorf("%s deleted whatever it is by now", d.Name)
				}
			}
		}
		return strings.Join(out, " ")
	}
	if got := deleted(); got != "over zone" {
		t.Errorf("at once: %s", got)
	}
	eventually.Is(t, 10*time.Second, "Secrets left", func() int { return len(c.informer.GetStore().List()) }, 5)
	clock.SetTime(now.Add(time.Hour))
	if got := deleted(); got != "soon" {
		t.Errorf("an hour later: %s", got)
	}
}
