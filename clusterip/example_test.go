package clusterip_test

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/clusterip"
	"github.com/duetk8s/duet/dualstack"
)

// A Service that prefers two families gets an address of each, above the static band of each range,
// and a node port above the static band of node ports. Then one is asked for that is taken.
func ExampleSpace_Plan() {
	ranges, _ := dualstack.Parse("--service-cidr", "10.96.0.0/16,fd00:10:96::/112")
	space := clusterip.NewSpace(clusterip.Config{
		Families: dualstack.Order(ranges),
		Rand:     func(uint64) uint64 { return 6 }, // begin each search at the seventh candidate
	})
	space.SetRanges([]clusterip.Range{{Name: "kubernetes", Prefixes: ranges, Ready: true, Revision: 3}})
	space.ReplaceAddrs(4, []netip.Addr{netip.MustParseAddr("10.96.0.1")})
	space.ReplacePorts(4, nil)

	policy := corev1.IPFamilyPolicyPreferDualStack
	web := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type:           corev1.ServiceTypeNodePort,
			IPFamilyPolicy: &policy,
			Ports:          []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	fmt.Println(space.Plan(web, nil))
	fmt.Println(web.Spec.IPFamilies, web.Spec.ClusterIPs, web.Spec.Ports[0].NodePort)

	wish := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "wish"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.1"},
	}
	fmt.Println(space.Plan(wish, nil))
	// Output:
	// <nil>
	// [IPv4 IPv6] [10.96.1.7 fd00:10:96::107] 30092
	// Service "wish" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated
}
