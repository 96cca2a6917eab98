package columns

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/duetk8s/duet/apiserver/resource"
	"github.com/duetk8s/duet/test/golden"
)

// kinds maps testdata/KIND.yaml to the columns it is printed with.
var kinds = map[string]func() *resource.Columns{
	"certificatesigningrequest": CertificateSigningRequest, "clusterrole": ClusterRole,
	"clusterrolebinding": ClusterRoleBinding, "configmap": ConfigMap,
	"controllerrevision": ControllerRevision, "cronjob": CronJob, "csidriver": CSIDriver,
	"csinode": CSINode, "csistoragecapacity": CSIStorageCapacity, "daemonset": DaemonSet,
	"deployment": Deployment, "endpoints": Endpoints, "endpointslice": EndpointSlice, "event": Event,
	"horizontalpodautoscaler": HorizontalPodAutoscaler, "ingress": Ingress, "ingressclass": IngressClass,
	"job": Job, "lease": Lease, "limitrange": LimitRange, "namespace": Namespace,
	"networkpolicy": NetworkPolicy, "node": Node, "persistentvolume": PersistentVolume,
	"persistentvolumeclaim": PersistentVolumeClaim, "pod": Pod, "poddisruptionbudget": PodDisruptionBudget,
	"podtemplate": PodTemplate, "priorityclass": PriorityClass, "replicaset": ReplicaSet,
	"replicationcontroller": ReplicationController, "resourcequota": ResourceQuota, "role": Role,
	"rolebinding": RoleBinding, "runtimeclass": RuntimeClass, "secret": Secret,
	"serviceaccount": ServiceAccount, "statefulset": StatefulSet, "storageclass": StorageClass,
	"volumeattachment": VolumeAttachment,
}

// TestPrint compares what `kubectl get` and `kubectl get -o wide` print for testdata/KIND.yaml with
// testdata/KIND.txt. The clock stands at 2000-01-01T00:00:00Z.
func TestPrint(t *testing.T) {
	for kind, columns := range kinds {
		t.Run(kind, func(t *testing.T) {
			objects := decode(t, filepath.Join("testdata", kind+".yaml"))
			var got bytes.Buffer
			synctest.Test(t, func(t *testing.T) {
				for _, wide := range []bool{false, true} {
					printTable(t, &got, columns(), objects, wide)
				}
			})
			golden.Check(t, filepath.Join("testdata", kind+".txt"), got.Bytes())
		})
	}
}

// TestEmpty prints an object without any field set: no kind may panic on what validation would
// have refused but an older store may hold.
func TestEmpty(t *testing.T) {
	for kind, columns := range kinds {
		t.Run(kind, func(t *testing.T) {
			obj := decode(t, filepath.Join("testdata", kind+".yaml"))[0]
			empty, err := scheme.Scheme.New(obj.GetObjectKind().GroupVersionKind())
			if err != nil {
				t.Fatal(err)
			}
			c := columns()
			if cells := c.Row(empty); len(cells) != len(c.Definitions) {
				t.Errorf("%d cells for %d columns", len(cells), len(c.Definitions))
			}
		})
	}
}

func printTable(t *testing.T, w io.Writer, columns *resource.Columns, objects []runtime.Object, wide bool) {
	t.Helper()
	table := &metav1.Table{ColumnDefinitions: columns.Definitions}
	for _, obj := range objects {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: columns.Row(obj)})
	}
	var text bytes.Buffer
	out := printers.GetNewTabWriter(&text)
	if err := printers.NewTablePrinter(printers.PrintOptions{Wide: wide}).PrintObj(table, out); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		_, _ = io.WriteString(w, strings.TrimRight(line, " \n")+"\n")
	}
}

func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var objects []runtime.Object
	for documents := yaml.NewDocumentDecoder(f); ; {
		text := make([]byte, 1<<20)
		n, err := documents.Read(text)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(text[:n], nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, obj)
	}
}
