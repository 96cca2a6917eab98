package kinds

import "strings"

// RegardingLabel maps a field selector of events.k8s.io/v1 to the name it has in core/v1, which
// EventFields knows: "regarding.name" is "involvedObject.name". Others stay as they are.
func RegardingLabel(label string) string {
	if field, ok := strings.CutPrefix(label, "regarding."); ok {
		return "involvedObject." + field
	}
	if label == "reportingController" {
		return "reportingComponent"
	}
	return label
}
