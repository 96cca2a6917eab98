package volumes

import (
	"context"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tokenKey is one projected token: a source of a volume of a Pod.
type tokenKey struct {
	pod    types.UID
	volume string
	source int
}

type token struct {
	data   []byte
	renew  time.Time // from when on a new one is asked for
	expire time.Time
}

// maxTokenAge is after which a token is renewed, however long it would last.
const maxTokenAge = 24 * time.Hour

// token returns a token for one source of a Pod's volume, a new one if the last is due. It is bound
// to the Pod and worthless when the Pod is gone. If a new one cannot be had the last serves as long
// as it lasts.
func (m *Manager) token(ctx context.Context, pod *corev1.Pod, volume string, source int, p *corev1.ServiceAccountTokenProjection) ([]byte, error) {
	key := tokenKey{pod.UID, volume, source}
	m.mu.Lock()
	last, have := m.tokens[key]
	m.mu.Unlock()
	now := m.cfg.Clock.Now()
	if have && now.Before(last.renew) {
		return last.data, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: p.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if p.Audience != "" {
		request.Spec.Audiences = []string{p.Audience}
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	got, err := m.cfg.Sources.Token(ctx, pod.Namespace, account, request)
	if err != nil {
		if have && now.Before(last.expire) {
			return last.data, nil
		}
		return nil, err
	}
	next := token{[]byte(got.Status.Token), renewAt(now, got.Status.ExpirationTimestamp), got.Status.ExpirationTimestamp.Time}
	m.mu.Lock()
	m.tokens[key] = next
	m.mu.Unlock()
	return next.data, nil
}

// renewAt is when four fifths of a token's time are over.
func renewAt(now time.Time, expire metav1.Time) time.Time {
	return now.Add(min(expire.Sub(now)*4/5, maxTokenAge))
}

// renewal is when the first of a Pod's tokens is due, zero if it has none. A token that is overdue,
// because the server could not be asked, is due again in a while.
func (m *Manager) renewal(pod types.UID) time.Time {
	const again = 10 * time.Second
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []time.Time
	for key, t := range m.tokens {
		if key.pod == pod {
			due = append(due, t.renew)
		}
	}
	if len(due) == 0 {
		return time.Time{}
	}
	first := slices.MinFunc(due, time.Time.Compare)
	if soon := m.cfg.Clock.Now().Add(again); first.Before(soon) {
		return soon
	}
	return first
}
