package clusterip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/duetk8s/duet/dualstack"
)

// The causes that A7 and A9.4 append to "failed to allocate …".
var (
	errAddrTaken = errors.New("provided IP is already allocated")                                        // A7.1
	errNoRange   = errors.New("the provided network does not match the current range")                   // A7.2
	errNotReady  = errors.New("allocator not ready")                                                     // A7.4
	errPortTaken = errors.New("provided port is already allocated")                                      // A9.4
	errFull      = errors.New("range is full")                                                           // A7.5, A9.4
	errNoName    = field.Required(field.NewPath("metadata", "name"), "name or generateName is required") // A7.9
)

// FullError is the answer to a Service for which no address or node port is left: a 500
// InternalError whose message is fixed by A7.5 and A9.4, and beside it, in [FullError.Detail], what
// an administrator wants to know.
type FullError struct {
	*apierrors.StatusError
	detail string
}

// Detail says how full each range is, in one line for a Warning header or an event:
//
//	IPv4 Service addresses in use: kubernetes 10.96.0.0/28 14/14, more 10.97.0.0/24 3/254 (not ready)
func (e *FullError) Detail() string { return e.detail }

// Unwrap makes the StatusError reachable for errors.As.
func (e *FullError) Unwrap() error { return e.StatusError }

// IsFull reports whether err, or one that it wraps, is a FullError.
func IsFull(err error) bool { return FullDetail(err) != "" }

// FullDetail returns the Detail of the FullError in err's tree, or "" if there is none.
func FullDetail(err error) string {
	if e, ok := errors.AsType[*FullError](err); ok {
		return e.detail
	}
	return ""
}

// addressesFull is A7.5, with duet's text.
func (s *Space) addressesFull(f dualstack.Family) error {
	var ranges []string
	for _, u := range s.Usage() {
		if dualstack.OfPrefix(u.Prefix) != f {
			continue
		}
		text := fmt.Sprintf("%s %s %d/%d", u.Name, u.Prefix, u.Used, u.Total)
		if !u.Ready {
			text += " (not ready)"
		}
		ranges = append(ranges, text)
	}
	if ranges == nil {
		ranges = []string{"there is no ServiceCIDR of this family"}
	}
	return &FullError{
		StatusError: apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", errFull)),
		detail:      fmt.Sprintf("%s Service addresses in use: %s", f, strings.Join(ranges, ", ")),
	}
}

// portsFull is the exhausted case of A9.4 and A9.8; what is "nodePort" or "HealthCheck NodePort 0".
func (s *Space) portsFull(what string) error {
	used, total := s.PortUsage()
	return &FullError{
		StatusError: apierrors.NewInternalError(fmt.Errorf("failed to allocate a %s: %w", what, errFull)),
		detail:      fmt.Sprintf("node ports in use: %s %d/%d", s.nodePorts, used, total),
	}
}

// addressRefused is A7.1, A7.2 and A7.4. The value shown is the list as it stands, with an empty
// string for an address yet to be picked (A7.7).
func addressRefused(svc *corev1.Service, ip string, cause error) error {
	return invalid(svc, field.Invalid(specPath("clusterIPs"), svc.Spec.ClusterIPs,
		fmt.Sprintf("failed to allocate IP %s: %s", ip, cause)))
}

// invalid is the 422 of section 0.
func invalid(svc *corev1.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, svc.Name, errs)
}

// parseAddr reads one entry of clusterIPs and reports whether it is an address that a Service may
// have: neither mapped nor with a zone (0.7).
func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4In6() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a, true
}
