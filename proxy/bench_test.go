package proxy

import (
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/hostnet/sandbox"
	"github.com/duetk8s/duet/nft"
)

// filled is a proxy whose table holds n dual-stack Services with two endpoints each.
func filled(b *testing.B, n int) *Proxy {
	b.Helper()
	sandbox.Need(b)
	p := &Proxy{
		services: map[string]*service{}, numbers: numbers{used: map[uint32]bool{}}, classes: classes{numbers: map[sticky]uint32{}},
		ledger: newLedger(), stale: true,
	}
	table, err := nft.Open(TableName)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := table.Remove(); err != nil {
			b.Error(err)
		}
		_ = table.Close()
	})
	p.table = table
	for i := range n {
		p.take(strconv.Itoa(i), nth(i, 0))
	}
	return p
}

// nth Service, with another second endpoint for each change.
func nth(i, change int) []Port {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s" + strconv.Itoa(i)}, Spec: corev1.ServiceSpec{
		ClusterIPs: []string{fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255), fmt.Sprintf("fd00:10:96::%x", i+1)},
		Ports:      []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	second := fmt.Sprintf("10.244.9.%d fd00:10:244:9::%x node1", change%250+2, change%250+2)
	return Ports(svc, endpoints(svc.Name, pod3, second), nodeName)
}

func BenchmarkCold(b *testing.B) {
	for _, n := range []int{1000, 10000, 30000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := filled(b, n)
			for b.Loop() {
				if err := p.rebuild(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One endpoint of one Service becomes another one.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 30000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := filled(b, n)
			if err := p.rebuild(); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				p.take("7", nth(7, i+1))
				if err := p.table.Apply(p.ledger.changes(&p.classes).Changes); err != nil {
					b.Fatal(err)
				}
				p.ledger.written()
			}
		})
	}
}
