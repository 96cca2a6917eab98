package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// register adds the conversion of one Go type into another to the scheme.
func register[From, To any](s *runtime.Scheme, convert func(*From, *To)) error {
	return s.AddConversionFunc((*From)(nil), (*To)(nil), func(a, b any, _ conversion.Scope) error {
		convert(a.(*From), b.(*To))
		return nil
	})
}

// each converts a list item by item, keeping nil apart from empty.
func each[From, To any](in []From, convert func(*From, *To)) []To {
	if in == nil {
		return nil
	}
	out := make([]To, len(in))
	for i := range in {
		convert(&in[i], &out[i])
	}
	return out
}

// convertNetworking registers v1beta1 ServiceCIDR and IPAddress, whose fields are v1's (B1.5).
func convertNetworking(s *runtime.Scheme) error {
	for _, err := range []error{
		register(s, cidrFromBeta), register(s, cidrToBeta), register(s, addressFromBeta), register(s, addressToBeta),
		register(s, func(a *networkingv1beta1.ServiceCIDRList, b *networkingv1.ServiceCIDRList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, cidrFromBeta)
		}),
		register(s, func(a *networkingv1.ServiceCIDRList, b *networkingv1beta1.ServiceCIDRList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, cidrToBeta)
		}),
		register(s, func(a *networkingv1beta1.IPAddressList, b *networkingv1.IPAddressList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, addressFromBeta)
		}),
		register(s, func(a *networkingv1.IPAddressList, b *networkingv1beta1.IPAddressList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, addressToBeta)
		}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func cidrFromBeta(a *networkingv1beta1.ServiceCIDR, b *networkingv1.ServiceCIDR) {
	b.ObjectMeta = a.ObjectMeta
	b.Spec = networkingv1.ServiceCIDRSpec(a.Spec)
	b.Status = networkingv1.ServiceCIDRStatus(a.Status)
}

func cidrToBeta(a *networkingv1.ServiceCIDR, b *networkingv1beta1.ServiceCIDR) {
	b.ObjectMeta = a.ObjectMeta
	b.Spec = networkingv1beta1.ServiceCIDRSpec(a.Spec)
	b.Status = networkingv1beta1.ServiceCIDRStatus(a.Status)
}

func addressFromBeta(a *networkingv1beta1.IPAddress, b *networkingv1.IPAddress) {
	b.ObjectMeta = a.ObjectMeta
	b.Spec.ParentRef = (*networkingv1.ParentReference)(a.Spec.ParentRef)
}

func addressToBeta(a *networkingv1.IPAddress, b *networkingv1beta1.IPAddress) {
	b.ObjectMeta = a.ObjectMeta
	b.Spec.ParentRef = (*networkingv1beta1.ParentReference)(a.Spec.ParentRef)
}

// convertEvents registers events.k8s.io/v1, stored as the core/v1 Event it shares its name with.
func convertEvents(s *runtime.Scheme) error {
	for _, err := range []error{
		register(s, eventFromCore), register(s, eventToCore),
		register(s, func(a *corev1.EventList, b *eventsv1.EventList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, eventFromCore)
		}),
		register(s, func(a *eventsv1.EventList, b *corev1.EventList) {
			b.ListMeta, b.Items = a.ListMeta, each(a.Items, eventToCore)
		}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func eventFromCore(a *corev1.Event, b *eventsv1.Event) {
	b.ObjectMeta = a.ObjectMeta
	b.EventTime, b.ReportingController, b.ReportingInstance = a.EventTime, a.ReportingController, a.ReportingInstance
	b.Action, b.Reason, b.Regarding, b.Related, b.Note, b.Type = a.Action, a.Reason, a.InvolvedObject, a.Related, a.Message, a.Type
	if a.Series != nil {
		b.Series = &eventsv1.EventSeries{Count: a.Series.Count, LastObservedTime: a.Series.LastObservedTime}
	}
	b.DeprecatedSource, b.DeprecatedCount = a.Source, a.Count
	b.DeprecatedFirstTimestamp, b.DeprecatedLastTimestamp = a.FirstTimestamp, a.LastTimestamp
}

func eventToCore(a *eventsv1.Event, b *corev1.Event) {
	b.ObjectMeta = a.ObjectMeta
	b.EventTime, b.ReportingController, b.ReportingInstance = a.EventTime, a.ReportingController, a.ReportingInstance
	b.Action, b.Reason, b.InvolvedObject, b.Related, b.Message, b.Type = a.Action, a.Reason, a.Regarding, a.Related, a.Note, a.Type
	if a.Series != nil {
		b.Series = &corev1.EventSeries{Count: a.Series.Count, LastObservedTime: a.Series.LastObservedTime}
	}
	b.Source, b.Count = a.DeprecatedSource, a.DeprecatedCount
	b.FirstTimestamp, b.LastTimestamp = a.DeprecatedFirstTimestamp, a.DeprecatedLastTimestamp
}
