package assemble

import (
	"fmt"

	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// setFeatures chooses among what k8s.io/apiserver can do. It is called once, before anything else
// looks at the gates.
//
// Two copies of large lists are not worth 150 MB at 18,000 Services (architecture.md, 5); the client
// of an etcd in this process cannot stream ranges.
func setFeatures() error {
	err := utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{
		string(features.ListFromCacheSnapshot):     false,
		string(features.SizeBasedListCostEstimate): false,
		string(features.DetectCacheInconsistency):  false,
		string(features.EtcdRangeStream):           false,
		string(features.APIServerIdentity):         false,
	})
	if err != nil {
		return fmt.Errorf("assemble: feature gates: %w", err)
	}
	return nil
}
