package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
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
