package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// line is the cells as kubectl prints them, with two spaces between.
func line(cells []any) string {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	return strings.Join(texts, "  ")
}

func TestA11_Columns(t *testing.T) {
	columns := Columns()
	var header, priorities []string
	for _, column := range columns.Definitions {
		header = append(header, strings.ToUpper(column.Name))
		priorities = append(priorities, fmt.Sprint(column.Priority))
		if column.Description == "" {
			t.Errorf("%s has no description", column.Name)
		}
	}
	if got := strings.Join(header, " "); got != "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR" {
		t.Errorf("header: %s", got)
	}
	if got := strings.Join(priorities, ""); got != "0000001" {
		t.Errorf("priorities: %s", got)
	}

	ingress := func(entries string) string {
		return `status: {loadBalancer: {ingress: [` + entries + `]}}` + "\nspec: {type: LoadBalancer, clusterIP: \"$0\", ports: [{port: 80, nodePort: 30080}]"
	}
	for _, row := range []struct{ name, svc, want string }{
		{
			"A11.1 ClusterIP", `clusterIP: "$0", selector: {b: x, a: z}, ports: [{port: 80}, {port: 53, protocol: UDP}]`,
			`web  ClusterIP  $0  <none>  80/TCP,53/UDP  5m  a=z,b=x`,
		},
		{"A11.1, F19 two addresses", `clusterIP: "$0", clusterIPs: ["$0", "$1"], ports: [{port: 80}]`, `web  ClusterIP  $0  <none>  80/TCP  5m  <none>`},
		{"A11.1 headless without ports", `clusterIP: None`, `web  ClusterIP  None  <none>  <none>  5m  <none>`},
		{"A11.1 NodePort", `type: NodePort, clusterIP: "$0", ports: [{port: 80, nodePort: 30080}]`, `web  NodePort  $0  <none>  80:30080/TCP  5m  <none>`},
		{"A11.2 external IPs", `clusterIP: "$0", externalIPs: [192.0.2.1, "2001:db8::1"], ports: [{port: 80}]`, `web  ClusterIP  $0  192.0.2.1,2001:db8::1  80/TCP  5m  <none>`},
		{"A11.2 ExternalName", `type: ExternalName, externalName: example.com, selector: {a: z}`, `web  ExternalName  <none>  example.com  <none>  5m  a=z`},
		{"A11.2 pending", ingress(``) + `}`, `web  LoadBalancer  $0  <pending>  80:30080/TCP  5m  <none>`},
		{"A11.2 pending but external IP", ingress(``) + `, externalIPs: [192.0.2.9]}`, `web  LoadBalancer  $0  192.0.2.9  80:30080/TCP  5m  <none>`},
		{"A11.2 one address", ingress(`{ip: 192.0.2.1}`) + `}`, `web  LoadBalancer  $0  192.0.2.1  80:30080/TCP  5m  <none>`},
		{"A11.2 exactly 16", ingress(`{ip: "2001:db8:1234::1"}`) + `}`, `web  LoadBalancer  $0  2001:db8:1234::1  80:30080/TCP  5m  <none>`},
		{
			"A11.2 two families, sorted, unique", ingress(`{ip: "2001:db8::1"}, {ip: 192.0.2.1}, {ip: 192.0.2.1}`) + `, externalIPs: [192.0.2.9]}`,
			`web  LoadBalancer  $0  192.0.2.1,2001:db8::1,192.0.2.9  80:30080/TCP  5m  <none>`,
		},
		{
			"A11.2 name", ingress(`{hostname: lb.prod.example.com}`) + `}`,
			`web  LoadBalancer  $0  lb.prod.example.com  80:30080/TCP  5m  <none>`,
		},
	} {
		onEach(t, row.name, []string{row.svc, row.want}, func(t *testing.T, texts []string) {
			svc := stored(t, texts[0])
			svc.CreationTimestamp = metav1.NewTime(time.Now().Add(-5 * time.Minute))
			if got := line(columns.Row(svc)); got != texts[1] {
				t.Errorf("got:  %s\nwant: %s", got, texts[1])
			}
		})
	}
	if got, want := line(columns.Row(&corev1.Service{})), `    <none>  <unknown>  <none>  <unknown>  <none>`; got != want {
		t.Errorf("empty object: got %q, want %q", got, want)
	}
}
