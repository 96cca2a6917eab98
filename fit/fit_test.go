package fit

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func asking(requests map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	list := corev1.ResourceList{}
	for name, q := range requests {
		list[corev1.ResourceName(name)] = resource.MustParse(q)
	}
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: ports, Resources: corev1.ResourceRequirements{Requests: list}}}}}
}

func TestShort(t *testing.T) {
	has := map[string]string{"cpu": "2", "memory": "1Ki", "pods": "2", "ephemeral-storage": "10", "x.io/b": "1", "x.io/a": "1"}
	list := corev1.ResourceList{}
	for name, q := range has {
		list[corev1.ResourceName(name)] = resource.MustParse(q)
	}
	rows := []struct {
		name string
		on   []map[string]string
		asks map[string]string
		want string
	}{
		{"nothing asked", nil, nil, "[]"},
		{"to the last bit", []map[string]string{{"cpu": "1500m"}}, map[string]string{"cpu": "500m"}, "[]"},
		{"one bit more", []map[string]string{{"cpu": "1500m"}}, map[string]string{"cpu": "501m"}, "[{cpu 501 1500 2000}]"},
		{"Pods", []map[string]string{{}, {}}, nil, "[{pods 1 2 2}]"},
		{
			"all in order",
			[]map[string]string{{}, {}},
			map[string]string{"x.io/b": "2", "x.io/a": "2", "ephemeral-storage": "11", "memory": "2Ki", "cpu": "3"},
			"[{pods 1 2 2} {cpu 3000 0 2000} {memory 2048 0 1024} {ephemeral-storage 11 0 10} {x.io/a 2 0 1} {x.io/b 2 0 1}]",
		},
		{"what the node has not", nil, map[string]string{"x.io/c": "1"}, "[{x.io/c 1 0 0}]"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			room := Room{Allocatable: AmountsOf(list)}
			for _, on := range row.on {
				p := Of(asking(on))
				room.Add(&p)
			}
			p := Of(asking(row.asks))
			if got := fmt.Sprint(room.Short(&p)); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// TestPorts: a port is taken or not whichever of two Pods was first, in every mixture of families.
func TestPorts(t *testing.T) {
	port := func(ip string) corev1.ContainerPort { return corev1.ContainerPort{HostPort: 80, HostIP: ip} }
	const all, all4, all6, one4, one6 = "", "0.0.0.0", "::", "127.0.0.1", "::1"
	rows := []struct {
		a, b string
		want bool
	}{
		{all, all, true},
		{all, all4, true},
		{all, all6, true},
		{all, one4, true},
		{all, one6, true},
		{all4, one4, true},
		{all6, one6, true},
		{all4, all6, false},
		{all4, one6, false},
		{all6, one4, false},
		{one4, one6, false},
		{one4, one4, true},
		{one6, one6, true},
		{one4, "127.0.0.2", false},
		{one6, "::2", false},
		{one4, "::ffff:127.0.0.1", true},
	}
	for _, row := range rows {
		for _, order := range [][2]string{{row.a, row.b}, {row.b, row.a}} {
			var room Room
			first, second := Of(asking(nil, port(order[0]))), Of(asking(nil, port(order[1])))
			room.Add(&first)
			if got := room.PortTaken(&second); got != row.want {
				t.Errorf("%q then %q: taken %t, want %t", order[0], order[1], got, row.want)
			}
			room.Remove(&first)
			if room.PortTaken(&second) || room.Pods != 0 {
				t.Errorf("%q: not given back", order[0])
			}
		}
	}
	udp := port(all)
	udp.Protocol = corev1.ProtocolUDP
	var room Room
	first, second := Of(asking(nil, udp)), Of(asking(nil, port(all)))
	room.Add(&first)
	if room.PortTaken(&second) {
		t.Error("UDP takes TCP's port")
	}
}
