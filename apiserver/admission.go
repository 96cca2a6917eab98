package apiserver

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	admissionmetrics "k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/duetk8s/duet/apiserver/nodeauth"
	"github.com/duetk8s/duet/apiserver/tokens"
)

var (
	servicesResource  = schema.GroupResource{Resource: "services"}
	addressesResource = schema.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	rangesResource    = schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
)

// immortal are the Namespaces that cannot be deleted.
var immortal = sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic)

// admission chains what may change an object that somebody writes or refuse a valid one.
func (s *Server) admission(config *genericapiserver.Config, cfg Config) error {
	namespaces, err := lifecycle.NewLifecycle(immortal)
	if err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	namespaces.SetExternalKubeInformerFactory(s.informers)
	namespaces.SetExternalKubeClientSet(s.client)
	if err := namespaces.ValidateInitialization(); err != nil {
		return fmt.Errorf("apiserver: %w", err)
	}
	chain := []admission.Interface{named(namespaces, lifecycle.PluginName)}
	chain = append(chain, s.podAdmission()...)
	chain = append(chain, named(nodeauth.Restriction{Graph: s.identities.nodes, Audience: tokens.IssuerName}, "NodeRestriction"))
	chain = append(chain, named(signerRights{config.Authorization.Authorizer}, "CertificateSigners"))
	if !cfg.AllowExternalIPs {
		chain = append(chain, named(denyExternalIPs{}, "DenyServiceExternalIPs"))
	}
	config.AdmissionControl = admissionmetrics.WithStepMetrics(admission.NewChainHandler(chain...))
	return nil
}

func named(plugin admission.Interface, name string) admission.Interface {
	return admissionmetrics.WithControllerMetrics(plugin, name)
}

// denyExternalIPs refuses new spec.externalIPs (A5.22): whoever may write Services could take over
// the traffic to any address.
type denyExternalIPs struct{}

var _ admission.ValidationInterface = denyExternalIPs{}

func (denyExternalIPs) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

func (denyExternalIPs) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	svc, ok := a.GetObject().(*corev1.Service)
	if !ok || a.GetSubresource() != "" {
		return nil
	}
	var had []string
	if old, ok := a.GetOldObject().(*corev1.Service); ok {
		had = old.Spec.ExternalIPs
	}
	for _, ip := range svc.Spec.ExternalIPs {
		if !slices.Contains(had, ip) {
			return admission.NewForbidden(a, fmt.Errorf("Use of external IPs is denied by admission control")) //nolint:staticcheck // the text users know
		}
	}
	return nil
}

// withNamespace is a context for calls on stores of namespaced kinds.
func withNamespace(namespace string) context.Context {
	return genericapirequest.WithNamespace(context.Background(), namespace)
}
