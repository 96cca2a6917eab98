package pods

import (
	"context"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
)

// logs serves pods/NAME/log: text as the agent of the node sends it.
type logs struct {
	unstored
	*nodes
}

var (
	_ rest.GetterWithOptions = logs{}
	_ rest.StorageMetadata   = logs{}
)

func (logs) New() runtime.Object                           { return &corev1.Pod{} }
func (logs) NewGetOptions() (runtime.Object, bool, string) { return &corev1.PodLogOptions{}, false, "" }
func (logs) ProducesMIMETypes(string) []string             { return []string{"text/plain"} }
func (logs) ProducesObject(string) any                     { return "" }

// OverrideMetricsVerb counts reading a log apart from reading an object.
func (logs) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

// Get opens the log. A Pod without a node has an empty one.
func (l logs) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o := options.(*corev1.PodLogOptions)
	if errs := checkLogOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	pod, err := l.Pod(ctx, name)
	if err != nil {
		return nil, err
	}
	c, err := container(pod, o.Container)
	if err != nil {
		return nil, err
	}
	stream := &genericrest.LocationStreamer{
		Transport: l.agents, ContentType: "text/plain", Flush: o.Follow,
		ResponseChecker: genericrest.NewGenericHttpResponseChecker(schema.GroupResource{Resource: "pods/log"}, name),
		RedirectChecker: genericrest.PreventRedirects,
	}
	if pod.Spec.NodeName == "" {
		return stream, nil
	}
	if o.InsecureSkipTLSVerifyBackend {
		stream.Transport = l.blind
	}
	stream.Location, err = l.location(ctx, pod, logQuery(o), "containerLogs", pod.Namespace, pod.Name, c)
	return stream, err
}

func checkLogOptions(o *corev1.PodLogOptions) (errs field.ErrorList) {
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	return errs
}

// logQuery says the options as the agent reads them.
func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	for key, on := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if on {
			q.Set(key, "true")
		}
	}
	for key, n := range map[string]*int64{"sinceSeconds": o.SinceSeconds, "tailLines": o.TailLines, "limitBytes": o.LimitBytes} {
		if n != nil {
			q.Set(key, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.Format(time.RFC3339))
	}
	return q
}

// ConvertToTable is never asked: a log is text.
func (logs) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, apierrors.NewBadRequest("a log is not a table")
}
