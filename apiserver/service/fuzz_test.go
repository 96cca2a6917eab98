package service

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FuzzService: whatever decodes as a Service can be defaulted, prepared, validated against nothing
// and against anything, warned about, selected and shown, without a panic; and the answer to the
// same question is the same again.
func FuzzService(f *testing.F) {
	for _, seed := range [][2]string{
		{`{}`, `{}`},
		{`{"spec":{"clusterIP":"None","ports":[{"port":80}]}}`, `{"spec":{"clusterIPs":["10.96.0.7","fd00::7","x"],"ipFamilies":["IPv4","IPv6","IPv5"]}}`},
		{
			`{"spec":{"type":"LoadBalancer","loadBalancerClass":"a/b","externalIPs":["::ffff:1.2.3.4"," "],"loadBalancerSourceRanges":["/","::/129"]}}`,
			`{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":-1},"status":{"loadBalancer":{"ingress":[{"ip":"x"},{"hostname":"::"}]}}}`,
		},
		{
			`{"spec":{"type":"ExternalName","externalName":"..","selector":{"":"\u0000"}}}`,
			`{"spec":{"type":"NodePort","clusterIPs":["",""],"ports":[{"targetPort":"x","nodePort":-5},{"targetPort":-5,"nodePort":-5}]}}`,
		},
		{
			`{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{}},"ipFamilyPolicy":""}}`,
			`{"metadata":{"annotations":{"service.beta.kubernetes.io/load-balancer-source-ranges":",,"}},"spec":{"trafficDistribution":"","internalTrafficPolicy":""}}`,
		},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		decode := func(text []byte) *corev1.Service {
			svc := &corev1.Service{}
			if json.Unmarshal(text, svc) != nil {
				t.Skip()
			}
			Default(svc)
			return svc
		}
		columns := Columns()
		for _, old := range []runtime.Object{nil, decode(second)} {
			svc := decode(first)
			Prepare(t.Context(), svc, old)
			text := ""
			for range 2 {
				errs := append(Validate(t.Context(), svc, old), ValidateStatus(t.Context(), svc, old)...)
				got := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, svc.Name, errs).Error()
				if text != "" && got != text {
					t.Errorf("first:\n%s\nthen:\n%s", text, got)
				}
				text = got
			}
			Warnings(t.Context(), svc, old)
			StatusWarnings(t.Context(), svc, old)
			Fields(svc)
			columns.Row(svc)
			Name(svc.Name, true)
			Name(svc.Name, false)
		}
	})
}
