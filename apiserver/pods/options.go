package pods

import (
	"fmt"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// AddConversions lets the scheme read the options of this package's paths from a query.
func AddConversions(s *runtime.Scheme) error {
	for _, err := range []error{
		fromQuery(s, func(q query, o *corev1.PodLogOptions) {
			o.Container, o.Follow, o.Previous, o.Timestamps = q.text("container"), q.flag("follow"), q.flag("previous"), q.flag("timestamps")
			o.SinceSeconds, o.SinceTime = q.number("sinceSeconds"), q.time("sinceTime")
			o.TailLines, o.LimitBytes = q.number("tailLines"), q.number("limitBytes")
			o.InsecureSkipTLSVerifyBackend = q.flag("insecureSkipTLSVerifyBackend")
		}),
		fromQuery(s, func(q query, o *corev1.PodExecOptions) {
			o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
			o.Container, o.Command = q.text("container"), q.values["command"]
		}),
		fromQuery(s, func(q query, o *corev1.PodAttachOptions) {
			o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
			o.Container = q.text("container")
		}),
		fromQuery(s, func(q query, o *corev1.PodPortForwardOptions) {
			o.Ports = q.ports("ports")
		}),
		fromQuery(s, func(q query, o *corev1.PodProxyOptions) { o.Path = q.text("path") }),
		fromQuery(s, func(q query, o *corev1.NodeProxyOptions) { o.Path = q.text("path") }),
		fromQuery(s, func(q query, o *corev1.ServiceProxyOptions) { o.Path = q.text("path") }),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func fromQuery[T any](s *runtime.Scheme, read func(query, *T)) error {
	return s.AddConversionFunc((*url.Values)(nil), (*T)(nil), func(a, b any, _ conversion.Scope) error {
		var err error
		read(query{*a.(*url.Values), &err}, b.(*T))
		return err
	})
}

// query reads values and keeps the first error.
type query struct {
	values url.Values
	err    *error
}

func (q query) text(key string) string { return q.values.Get(key) }

// flag is on unless it is absent or says 0 or false, as everywhere in the API.
func (q query) flag(key string) bool {
	v := q.values.Get(key)
	return q.values.Has(key) && v != "0" && v != "false" && v != "False" && v != "FALSE"
}

func (q query) number(key string) *int64 {
	if !q.values.Has(key) {
		return nil
	}
	n, err := strconv.ParseInt(q.values.Get(key), 10, 64)
	q.fail(key, err)
	return &n
}

func (q query) time(key string) *metav1.Time {
	if q.values.Get(key) == "" {
		return nil
	}
	t := &metav1.Time{}
	q.fail(key, t.UnmarshalQueryParameter(q.values.Get(key)))
	return t
}

func (q query) ports(key string) (out []int32) {
	for _, text := range q.values[key] {
		n, err := strconv.ParseInt(text, 10, 32)
		q.fail(key, err)
		out = append(out, int32(n))
	}
	return out
}

func (q query) fail(key string, err error) {
	if err != nil && *q.err == nil {
		*q.err = fmt.Errorf("query parameter %s: %w", key, err)
	}
}
