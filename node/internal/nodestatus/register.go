package nodestatus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// registered returns the Node, which it creates if there is none, and whose labels it sets right if
// there is one from before.
func (s *Status) registered(ctx context.Context, f Facts) (*corev1.Node, error) {
	if n := s.Node(); n != nil {
		return n, nil
	}
	nodes := s.config.Client.CoreV1().Nodes()
	wanted := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: s.config.Name, Labels: s.labels()},
		Spec:       corev1.NodeSpec{Taints: s.config.Taints},
	}
	wanted.Status = status(&wanted.Status, s.config.Name, s.HostIPs(), f, s.config, s.config.Clock.Now())
	n, err := nodes.Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		n, err = s.adopt(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("register Node %s: %w", s.config.Name, err)
	}
	s.observe(n)
	return n, nil
}

// adopt takes over the Node of an earlier run.
func (s *Status) adopt(ctx context.Context) (*corev1.Node, error) {
	nodes := s.config.Client.CoreV1().Nodes()
	n, err := nodes.Get(ctx, s.config.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	missing := map[string]string{}
	for k, v := range s.labels() {
		if n.Labels[k] != v {
			missing[k] = v
		}
	}
	if len(missing) == 0 {
		return n, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": missing}})
	if err != nil {
		return nil, err
	}
	return nodes.Patch(ctx, s.config.Name, types.MergePatchType, patch, metav1.PatchOptions{})
}

func (s *Status) labels() map[string]string {
	out := maps.Clone(s.config.Labels)
	if out == nil {
		out = map[string]string{}
	}
	out[corev1.LabelHostname] = s.config.Name
	out[corev1.LabelOSStable] = runtime.GOOS
	out[corev1.LabelArchStable] = runtime.GOARCH
	return out
}

// patch writes the differences between the Node's status and the next one.
func (s *Status) patch(ctx context.Context, old *corev1.Node, next corev1.NodeStatus) (*corev1.Node, error) {
	patch, err := statusPatch(old.Status, next)
	if err != nil {
		return nil, fmt.Errorf("compare statuses of Node %s: %w", s.config.Name, err)
	}
	n, err := s.config.Client.CoreV1().Nodes().Patch(ctx, s.config.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		s.gone()
	}
	if err != nil {
		return nil, fmt.Errorf("report status of Node %s: %w", s.config.Name, err)
	}
	return n, nil
}

// statusPatch leaves the conditions of others alone. The API declares that addresses are merged by
// their type, which with two InternalIPs makes one of them: they are replaced as a whole.
func statusPatch(old, next corev1.NodeStatus) ([]byte, error) {
	addresses := next.Addresses
	old.Addresses, next.Addresses = nil, nil
	a, err := json.Marshal(corev1.Node{Status: old})
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(corev1.Node{Status: next})
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.CreateTwoWayMergePatch(a, b, corev1.Node{})
	if err != nil {
		return nil, err
	}
	var patch struct {
		Status map[string]any `json:"status"`
	}
	if err := json.Unmarshal(merged, &patch); err != nil {
		return nil, err
	}
	if patch.Status == nil {
		patch.Status = map[string]any{}
	}
	list := []any{map[string]string{"$patch": "replace"}}
	for _, address := range addresses {
		list = append(list, address)
	}
	patch.Status["addresses"] = list
	return json.Marshal(patch)
}

// same compares statuses, without the times of heartbeats.
func same(a, b corev1.NodeStatus) bool {
	return equality.Semantic.DeepEqual(withoutTimes(a), withoutTimes(b))
}

func withoutTimes(s corev1.NodeStatus) corev1.NodeStatus {
	list := make([]corev1.NodeCondition, len(s.Conditions))
	for i, c := range s.Conditions {
		c.LastHeartbeatTime, c.LastTransitionTime = metav1.Time{}, metav1.Time{}
		list[i] = c
	}
	s.Conditions = list
	return s
}
