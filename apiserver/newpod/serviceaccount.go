// Package newpod is what admission adds to a Pod that is being created: the service account and the
// volume with its token, tolerations of nodes that fail, a priority; and to a Node the taint that keeps
// Pods away until it is ready.
//
// It changes the request only and stores nothing.
package newpod

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"
)

const (
	defaultAccount = "default"
	// volumePrefix begins the name of the volume with what a program needs to talk to the API, and
	// mountPath is where every client library looks for it.
	volumePrefix = "kube-api-access-"
	mountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenLife in seconds; the odd number tells a token that was not asked for by anybody.
	tokenLife = 60*60 + 7
	// rootCA is the ConfigMap that every namespace has.
	rootCA = "kube-root-ca.crt"
	// attempts to find the service account default of a namespace that has only just been made.
	attempts     = 10
	attemptPause = 100 * time.Millisecond
)

// ServiceAccount gives a new Pod its service account, and the containers the token.
type ServiceAccount struct {
	// Find returns the service account, or NotFound.
	Find func(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
}

var (
	_ admission.MutationInterface   = ServiceAccount{}
	_ admission.ValidationInterface = ServiceAccount{}
)

// Handles tells that only new Pods are of interest.
func (ServiceAccount) Handles(op admission.Operation) bool { return op == admission.Create }

// newPod is the Pod that a request creates; nil if it is about something else.
func newPod(a admission.Attributes) *corev1.Pod {
	if a.GetResource().Group != "" || a.GetResource().Resource != "pods" || a.GetSubresource() != "" || a.GetOperation() != admission.Create {
		return nil
	}
	pod, _ := a.GetObject().(*corev1.Pod)
	return pod
}

// isMirror tells whether a Pod only shows what a node runs anyway: those stay as they are.
func isMirror(p *corev1.Pod) bool {
	_, ok := p.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// Admit fills in what is missing.
func (s ServiceAccount) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(a)
	if pod == nil || isMirror(pod) {
		return nil
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := s.find(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if mounts(account, pod) {
		addToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// Validate refuses mirrors that would have rights, and service accounts that do not exist.
func (s ServiceAccount) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(a)
	if pod == nil {
		return nil
	}
	if !isMirror(pod) {
		if pod.Spec.ServiceAccountName == "" {
			return admission.NewForbidden(a, errors.New("no service account specified for pod"))
		}
		return nil // Admit has looked it up, and nothing after it changes the name
	}
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return admission.NewForbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// find waits a little for the service account default: it follows its namespace at once.
func (s ServiceAccount) find(ctx context.Context, namespace, name string) (account *corev1.ServiceAccount, err error) {
	tries := 1
	if name == defaultAccount {
		tries = attempts
	}
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(attemptPause + rand.N(attemptPause/5)): //nolint:forbidigo // a pause in a request, bounded by its context
			}
		}
		if account, err = s.Find(ctx, namespace, name); !apierrors.IsNotFound(err) {
			return account, err
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
}

// mounts: the Pod's word counts before the service account's.
func mounts(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	switch {
	case pod.Spec.AutomountServiceAccountToken != nil:
		return *pod.Spec.AutomountServiceAccountToken
	case account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// addToken mounts the volume into every container that has nothing in that place.
func addToken(pod *corev1.Pod) {
	name, exists := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, volumePrefix) {
			name, exists = v.Name, true
			break
		}
	}
	if !exists {
		name = volumePrefix + utilrand.String(5)
	}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == mountPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: mountPath})
			needed = true
		}
	}
	if needed && !exists {
		pod.Spec.Volumes = append(pod.Spec.Volumes, tokenVolume(name))
	}
}

func tokenVolume(name string) corev1.Volume {
	life, mode := int64(tokenLife), int32(0o644)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: corev1.ServiceAccountTokenKey, ExpirationSeconds: &life}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCA},
				Items:                []corev1.KeyToPath{{Key: corev1.ServiceAccountRootCAKey, Path: corev1.ServiceAccountRootCAKey}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}}
}
