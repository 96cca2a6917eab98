package defaults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/test/golden"
)

// TestDefaults compares testdata/NAME.yaml after defaulting with testdata/NAME.want.yaml, and
// checks that a second pass and a pass over an empty object change nothing and do not panic.
func TestDefaults(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".want.yaml") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			obj, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, obj)
			once := obj.DeepCopyObject()
			apply(t, obj)
			if !equality.Semantic.DeepEqual(once, obj) {
				t.Errorf("not idempotent: %v then %v", once, obj)
			}
			got, err := yaml.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, strings.TrimSuffix(file, ".yaml")+".want.yaml", got)

			empty, err := scheme.Scheme.New(*gvk)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, empty)
		})
	}
}

func apply(t *testing.T, obj runtime.Object) {
	t.Helper()
	switch o := obj.(type) {
	case *corev1.Pod:
		Pod(o)
	case *corev1.PodTemplate:
		PodTemplate(o)
	case *corev1.Namespace:
		Namespace(o)
	case *corev1.Secret:
		Secret(o)
	case *corev1.Node:
		Node(o)
	case *corev1.Endpoints: //nolint:staticcheck // served as long as upstream serves it
		Endpoints(o)
	case *corev1.LimitRange:
		LimitRange(o)
	case *corev1.ReplicationController:
		ReplicationController(o)
	case *corev1.PersistentVolume:
		PersistentVolume(o)
	case *corev1.PersistentVolumeClaim:
		PersistentVolumeClaim(o)
	case *appsv1.Deployment:
		Deployment(o)
	case *appsv1.ReplicaSet:
		ReplicaSet(o)
	case *appsv1.StatefulSet:
		StatefulSet(o)
	case *appsv1.DaemonSet:
		DaemonSet(o)
	case *batchv1.Job:
		Job(o)
	case *batchv1.CronJob:
		CronJob(o)
	case *autoscalingv2.HorizontalPodAutoscaler:
		HorizontalPodAutoscaler(o)
	case *discoveryv1.EndpointSlice:
		EndpointSlice(o)
	case *networkingv1.IngressClass:
		IngressClass(o)
	case *networkingv1.NetworkPolicy:
		NetworkPolicy(o)
	case *schedulingv1.PriorityClass:
		PriorityClass(o)
	case *storagev1.StorageClass:
		StorageClass(o)
	case *storagev1.CSIDriver:
		CSIDriver(o)
	default:
		t.Fatalf("no default for %T", obj)
	}
}
