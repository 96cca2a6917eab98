package apiserver

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/duetk8s/duet/apiserver/resource"
)

// printer answers `kubectl get` with a table made from the row's columns.
type printer struct{ resource.Resource }

// ConvertToTable makes one line per object, with definitions unless the client has them already.
func (p printer) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	opts, _ := options.(*metav1.TableOptions)
	out := &metav1.Table{}
	if opts == nil || !opts.NoHeaders {
		out.ColumnDefinitions = p.Columns.Definitions
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	add := func(item runtime.Object) error {
		out.Rows = append(out.Rows, metav1.TableRow{Cells: p.Columns.Row(item), Object: runtime.RawExtension{Object: item}})
		return nil
	}
	if meta.IsListType(obj) {
		return out, meta.EachListItem(obj, add)
	}
	return out, add(obj)
}
