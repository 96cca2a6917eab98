package crash

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// band is a ServiceCIDR that one client makes, widens to a second family and deletes over and over.
// Its name sorts before that of the default one, so that addresses are picked from it first; it
// stays as long as they are used, and the controller changes it, so only this much is certain of it.
type band struct {
	name   string
	second int // an octet of its range

	uid     types.UID // "": absent
	cidrs   []string
	leaving bool // deletion acknowledged: gone, or waiting for its addresses
	open    *bandWrite
}

type bandWrite struct {
	what    string
	cidrs   []string
	deletes bool
}

// changeBand does one thing with the client's ServiceCIDR.
func (c *client) changeBand(ctx context.Context) outcome {
	b := c.band
	four, six := fmt.Sprintf("10.97.%d.0/29", b.second), fmt.Sprintf("fd00:10:97:%x::/125", b.second)
	switch {
	case b.uid == "" || b.leaving:
		w := &bandWrite{what: "create ServiceCIDR", cidrs: pick(c, []string{four}, []string{six}, []string{four, six})}
		if b.leaving && c.bandThere(ctx) {
			return acknowledged
		}
		obj := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: b.name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: w.cidrs}}
		out := &networkingv1.ServiceCIDR{}
		b.open = w
		result := c.ask(ctx, w.what, c.networking.Post().Resource("servicecidrs").Body(obj), out)
		return b.done(c, result, out)
	case len(b.cidrs) == 1 && c.chance(2):
		w := &bandWrite{what: "widen ServiceCIDR", cidrs: append(slices.Clone(b.cidrs), four)}
		if b.cidrs[0] == four {
			w.cidrs[1] = six
		}
		body := fmt.Sprintf(`{"spec":{"cidrs":[%q,%q]}}`, w.cidrs[0], w.cidrs[1])
		out := &networkingv1.ServiceCIDR{}
		b.open = w
		result := c.ask(ctx, w.what, c.networking.Patch(types.MergePatchType).Resource("servicecidrs").Name(b.name).Body([]byte(body)), out)
		return b.done(c, result, out)
	}
	b.open = &bandWrite{what: "delete ServiceCIDR", deletes: true}
	return b.done(c, c.ask(ctx, b.open.what, c.networking.Delete().Resource("servicecidrs").Name(b.name), nil), nil)
}

// bandThere tells whether a ServiceCIDR that was deleted still waits; no answer is a yes.
func (c *client) bandThere(ctx context.Context) bool {
	list := &networkingv1.ServiceCIDRList{}
	err := c.networking.Get().Resource("servicecidrs").MaxRetries(0).Do(ctx).Into(list)
	return err != nil || slices.ContainsFunc(list.Items, func(s networkingv1.ServiceCIDR) bool { return s.Name == c.band.name })
}

// done takes in how the open write ended.
func (b *band) done(c *client, result outcome, out *networkingv1.ServiceCIDR) outcome {
	w := b.open
	switch result {
	case unknown: // stays open
	case refused, undelivered:
		b.open = nil
	case acknowledged:
		c.counts[w.what]++
		b.open = nil
		if w.deletes {
			b.leaving = true
			break
		}
		if !slices.Equal(out.Spec.CIDRs, w.cidrs) {
			c.complain("%s %s was acknowledged with %v, want %v", w.what, b.name, out.Spec.CIDRs, w.cidrs)
		}
		b.uid, b.cidrs, b.leaving = out.UID, w.cidrs, false
	}
	return result
}

// settle takes what was found after a crash as the truth, or says why it cannot be.
func (b *band) settle(found *networkingv1.ServiceCIDR) error {
	err := b.compare(found)
	b.open = nil
	b.uid, b.cidrs, b.leaving = "", nil, false
	if found != nil {
		b.uid, b.cidrs, b.leaving = found.UID, found.Spec.CIDRs, found.DeletionTimestamp != nil
	}
	return err
}

func (b *band) compare(found *networkingv1.ServiceCIDR) error {
	open := b.open
	if open == nil {
		open = &bandWrite{}
	}
	made := open.cidrs != nil && (b.uid == "" || b.leaving)
	switch {
	case found == nil && b.uid != "" && !b.leaving && !open.deletes:
		return fmt.Errorf("ServiceCIDR %s is absent, its creation was acknowledged", b.name)
	case found == nil:
		return nil
	case b.uid == "" && !made:
		return fmt.Errorf("ServiceCIDR %s is there, nobody was told of its creation", b.name)
	case found.UID != b.uid && !made:
		return fmt.Errorf("ServiceCIDR %s has UID %s, want %s", b.name, found.UID, b.uid)
	case !slices.Equal(found.Spec.CIDRs, b.cidrs) && !slices.Equal(found.Spec.CIDRs, open.cidrs):
		return fmt.Errorf("ServiceCIDR %s has ranges %v, want %v", b.name, found.Spec.CIDRs, b.cidrs)
	case found.DeletionTimestamp != nil && !b.leaving && !open.deletes:
		return fmt.Errorf("ServiceCIDR %s is being deleted, nobody asked for that", b.name)
	case found.DeletionTimestamp == nil && b.leaving && !made:
		return fmt.Errorf("ServiceCIDR %s is not being deleted, that was acknowledged", b.name)
	}
	return nil
}
