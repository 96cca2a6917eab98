package kinds

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/duetk8s/duet/test/certs"
)

func TestPreparePod(t *testing.T) {
	quantities := func(cpu, memory string) corev1.ResourceList {
		list := corev1.ResourceList{}
		for name, q := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
			if q != "" {
				list[name] = resource.MustParse(q)
			}
		}
		return list
	}
	both := quantities("1", "1Gi")
	for name, c := range map[string]struct {
		requests, limits corev1.ResourceList
		want             corev1.PodQOSClass
	}{
		"nothing":           {nil, nil, corev1.PodQOSBestEffort},
		"zero":              {quantities("0", ""), nil, corev1.PodQOSBestEffort},
		"requests":          {both, nil, corev1.PodQOSBurstable},
		"one limit":         {nil, quantities("1", ""), corev1.PodQOSBurstable},
		"limits":            {nil, both, corev1.PodQOSGuaranteed},
		"equal":             {both, quantities("1000m", "1024Mi"), corev1.PodQOSGuaranteed},
		"less than limited": {quantities("500m", "1Gi"), both, corev1.PodQOSBurstable},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Resources: corev1.ResourceRequirements{Requests: c.requests, Limits: c.limits},
			}}}}
			p.Status.PodIP = "10.0.0.1" // a client cannot bring one
			PreparePod(t.Context(), p, nil)
			if p.Status.QOSClass != c.want || p.Status.Phase != corev1.PodPending || p.Status.PodIP != "" {
				t.Errorf("got %+v", p.Status)
			}
		})
	}
	gated := &corev1.Pod{Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "g"}}}}
	PreparePod(t.Context(), gated, nil)
	if len(gated.Status.Conditions) != 1 || gated.Status.Conditions[0].Reason != corev1.PodReasonSchedulingGated {
		t.Errorf("got %+v", gated.Status)
	}
}

func TestValidatePodStatus(t *testing.T) {
	status := func(host string, hosts []string, pods ...string) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{HostIP: host}}
		for _, ip := range hosts {
			p.Status.HostIPs = append(p.Status.HostIPs, corev1.HostIP{IP: ip})
		}
		for _, ip := range pods {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		}
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"v4":        {status("10.0.0.9", []string{"10.0.0.9"}, "10.0.0.1"), ""},
		"v6":        {status("fd00::9", []string{"fd00::9"}, "fd00::1"), ""},
		"v4+v6":     {status("10.0.0.9", []string{"10.0.0.9", "fd00::9"}, "10.0.0.1", "fd00::1"), ""},
		"v6+v4":     {status("fd00::9", []string{"fd00::9", "10.0.0.9"}, "fd00::1", "10.0.0.1"), ""},
		"two v6":    {status("", nil, "fd00::1", "fd00::2"), `status.podIPs: Invalid value: ["fd00::1","fd00::2"]: may specify no more than one IP for each IP family`},
		"no IP":     {status("", nil, "x"), `status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`},
		"known":     {status("", nil, "010.0.0.1"), ""},
		"other one": {status("10.0.0.8", []string{"10.0.0.9"}), "status.hostIPs[0].ip: Invalid value: \"10.0.0.9\": must be equal to `hostIP`"},
	} {
		t.Run(name, func(t *testing.T) {
			errs, got := ValidatePodStatus(c.pod, status("", nil, "010.0.0.1")), ""
			if len(errs) > 0 {
				got = errs.ToAggregate().Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPrepareNamespace(t *testing.T) {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-x7k2p"}}
	n.Spec.Finalizers = []corev1.FinalizerName{"x.example/y"}
	PrepareNamespace(t.Context(), n, nil)
	want := []corev1.FinalizerName{"x.example/y", corev1.FinalizerKubernetes}
	if !slices.Equal(n.Spec.Finalizers, want) || n.Status.Phase != corev1.NamespaceActive || n.Labels[corev1.LabelMetadataName] != n.Name {
		t.Errorf("got %+v", n)
	}
	stripped := n.DeepCopy()
	stripped.Spec.Finalizers = nil
	if PrepareNamespace(t.Context(), stripped, n); !slices.Equal(stripped.Spec.Finalizers, want) {
		t.Errorf("an update took finalizers away: %v", stripped.Spec.Finalizers)
	}
}

func TestPrepareJob(t *testing.T) {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "u"}}
	PrepareJob(t.Context(), j, nil)
	if selector := metav1.FormatLabelSelector(j.Spec.Selector); selector != "batch.kubernetes.io/controller-uid=u" {
		t.Error(selector)
	}
	if got := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: j.Spec.Template.Labels}); got !=
		"batch.kubernetes.io/controller-uid=u,batch.kubernetes.io/job-name=j,controller-uid=u,job-name=j" {
		t.Error(got)
	}
}

func TestPrepareCertificateSigningRequest(t *testing.T) {
	ctx := request.WithUser(t.Context(), &user.DefaultInfo{
		Name: "alice", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}},
	})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		Username: "root", SignerName: "kubernetes.io/kube-apiserver-client", // nobody asks in another's name
		Usages:  []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		Request: certs.Request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "alice"}}),
	}}
	PrepareCertificateSigningRequest(ctx, r, nil)
	if r.Spec.Username != "alice" || r.Spec.UID != "7" || r.Spec.Extra["k"][0] != "v" {
		t.Errorf("got %+v", r.Spec)
	}
	if errs := ValidateCertificateSigningRequest(r, nil); len(errs) > 0 {
		t.Error(errs)
	}

	approved := r.DeepCopy()
	approved.Spec.SignerName = "other"
	approved.Status.Certificate = []byte("forged")
	approved.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{
		{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue},
	}
	PrepareApproval(approved, r)
	if approved.Spec.SignerName != r.Spec.SignerName || approved.Status.Certificate != nil || len(approved.Status.Conditions) != 1 {
		t.Errorf("got %+v", approved)
	}
	if errs := ValidateApproval(approved, r); len(errs) > 0 {
		t.Error(errs)
	}

	denied := approved.DeepCopy()
	denied.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{
		{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue},
		{Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue}, // the signer's to say
	}
	PrepareApproval(denied, approved)
	if errs := ValidateApproval(denied, approved); len(denied.Status.Conditions) != 1 || len(errs) != 1 {
		t.Errorf("got %+v: %v", denied.Status, errs)
	}
}
