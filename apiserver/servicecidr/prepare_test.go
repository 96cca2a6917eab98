package servicecidr

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/duetk8s/duet/clusterip"
)

func TestPrepareKeepsFinalizer(t *testing.T) {
	deleted := metav1.Now()
	rows := []struct {
		name    string
		deleted *metav1.Time
		have    []string
		want    []string
	}{
		{"new", nil, nil, []string{clusterip.ServiceCIDRFinalizer}},
		{"has others", nil, []string{"example.org/mine"}, []string{"example.org/mine", clusterip.ServiceCIDRFinalizer}},
		{"has it", nil, []string{clusterip.ServiceCIDRFinalizer}, []string{clusterip.ServiceCIDRFinalizer}},
		{"the controller lets it go", &deleted, nil, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: row.deleted, Finalizers: row.have}}
			Prepare(t.Context(), cidr, nil)
			if !slices.Equal(cidr.Finalizers, row.want) {
				t.Errorf("finalizers %v, want %v", cidr.Finalizers, row.want)
			}
		})
	}
}
