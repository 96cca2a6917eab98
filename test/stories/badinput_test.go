package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// bad is a request that must be refused as the client's fault.
type bad struct {
	name, method, path, kind string // kind is the Content-Type
	body                     []byte
}

const (
	asJSON  = "application/json"
	asYAML  = "application/yaml"
	asProto = "application/vnd.kubernetes.protobuf"

	maps_    = "/api/v1/namespaces/bad-input/configmaps"
	services = "/api/v1/namespaces/bad-input/services"
	ranges   = "/apis/networking.k8s.io/v1/servicecidrs"
)

func configMap(rest string) []byte {
	return []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}` + rest + `}`)
}

func nested(left, inside, right string, levels int) []byte {
	return []byte(strings.Repeat(left, levels) + inside + strings.Repeat(right, levels))
}

func badInput() []bad {
	deep := string(nested(`{"a":`, "1", "}", 10_000))
	shallower := string(nested(`{"a":`, "1", "}", 9_900))
	rows := []bad{
		{"empty body", "POST", maps_, asJSON, nil},
		{"not JSON", "POST", maps_, asJSON, []byte("nonsense")},
		{"cut off", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"na`)},
		{"text after the object", "POST", maps_, asJSON, append(configMap(""), "{}"...)},
		{"null", "POST", maps_, asJSON, []byte("null")},
		{"a list", "POST", maps_, asJSON, []byte("[]")},
		{"a number", "POST", maps_, asJSON, []byte("1e400")},
		{"NUL bytes", "POST", maps_, asJSON, make([]byte, 1000)},
		{"bad YAML", "POST", maps_, asYAML, []byte("a: [b\nc: }")},
		{"YAML that grows", "POST", maps_, asYAML, []byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f]\n")},
		{"YAML nested deeply", "POST", maps_, asYAML, nested("[", "", "]", 10_000)},
		{"protobuf without its magic", "POST", maps_, asProto, []byte("\x0a\x02v1")},
		{"protobuf cut off", "POST", maps_, asProto, []byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09Config")},
		{"protobuf of a wrong length", "POST", maps_, asProto, []byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xff\xff\xff\xff\x0f")},
		{"protobuf of nonsense", "POST", maps_, asProto, append([]byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x04"), "\xff\xff\xff\xff"...)},
		{"nested deeply in metadata", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":` + deep + `}`)},
		{"nested deeply in managed fields", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":` + deep + `}]}}`)},
		{"nested within the limit of JSON", "POST", maps_, asJSON, configMap(`,"data":` + shallower)},
		{"a strategic patch nested deeply", "PATCH", services + "/there", "application/strategic-merge-patch+json", []byte(`{"spec":` + shallower + "}")},
		{"a JSON patch of a deep value", "PATCH", maps_ + "/there", "application/json-patch+json", []byte(`[{"op":"add","path":"/data/a","value":` + shallower + "}]")},
		{"lists nested deeply", "POST", maps_, asJSON, nested("[", "", "]", 1_000_000)},
		{"more than 3 MB", "POST", maps_, asJSON, configMap(`,"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}`)},
		{"more than a ConfigMap holds", "POST", maps_, asJSON, configMap(`,"data":{"a":"` + strings.Repeat("x", 1<<20+1) + `"}`)},
		{"another kind", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"m"}}`)},
		{"an unknown kind", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"m"}}`)},
		{"an unknown version", "POST", maps_, asJSON, []byte(`{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"m"}}`)},
		{"an unknown group", "POST", ranges, asJSON, []byte(`{"apiVersion":"example.com/v1","kind":"ServiceCIDR","metadata":{"name":"m"}}`)},
		{"an internal version", "POST", maps_, asJSON, []byte(`{"apiVersion":"__internal","kind":"ConfigMap","metadata":{"name":"m"}}`)},
		{"a list where one is wanted", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"List","items":[]}`)},
		{"no name", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap"}`)},
		{"a Service without a name (A7.9)", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":80}]}}`)},
		{"another namespace", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","namespace":"default"}}`)},
		{"no such namespace", "POST", "/api/v1/namespaces/none/configmaps", asJSON, configMap("")},
		{"a bad name", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"../etc"}}`)},
		{"a long name", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + strings.Repeat("a", 300) + `"}}`)},
		{"a bad generateName", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"A_.-"}}`)},
		{"a bad label", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","labels":{"a b":"c d"}}}`)},
		{"many annotations", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","annotations":{"a":"` + strings.Repeat("x", 300_000) + `"}}}`)},
		{"a bad finalizer", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","finalizers":["non sense"]}}`)},
		{"a bad owner", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","ownerReferences":[{"kind":"X"}]}}`)},
		{"a revision on create", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","resourceVersion":"7"}}`)},
		{"a number for a string", "POST", maps_, asJSON, configMap(`,"data":{"a":1}`)},
		{"a string for a number", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ports":[{"port":"http"}]}}`)},
		{"a number too large", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ports":[{"port":99999999999}]}}`)},
		{"a port too large", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ports":[{"port":65536}]}}`)},
		{"an object for a list", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ports":{}}}`)},
		{"a bad time", "POST", maps_, asJSON, []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","creationTimestamp":"yesterday"}}`)},
		{"a bad quantity", "POST", "/api/v1/namespaces/bad-input/resourcequotas", asJSON, []byte(`{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"m"},"spec":{"hard":{"cpu":"lots"}}}`)},
		{"a bad address", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"clusterIP":"10.96.0.300","ports":[{"port":80}]}}`)},
		{"a bad family", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ipFamilies":["IPv5"],"ports":[{"port":80}]}}`)},
		{"30,000 ports", "POST", services, asJSON, []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"type":"NodePort","ports":[` + strings.TrimSuffix(strings.Repeat(`{"port":80},`, 30_000), ",") + `]}}`)},
		{"100,000 ranges", "POST", ranges, asJSON, []byte(`{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"m"},"spec":{"cidrs":[` + strings.TrimSuffix(strings.Repeat(`"10.0.0.0/8",`, 100_000), ",") + `]}}`)},
		{"no Content-Type that is known", "POST", maps_, "text/plain", configMap("")},
		{"a broken Content-Type", "POST", maps_, ";;;=", configMap("")},
		{"a patch of unknown type", "PATCH", maps_ + "/there", asJSON, []byte("{}")},
		{"a JSON patch that is none", "PATCH", maps_ + "/there", "application/json-patch+json", []byte("{}")},
		{"a JSON patch of nothing", "PATCH", maps_ + "/there", "application/json-patch+json", []byte(`[{"op":"remove","path":"/nonsense/a/b"}]`)},
		{"a JSON patch of 20,000 steps", "PATCH", maps_ + "/there", "application/json-patch+json", []byte("[" + strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"/kind","value":"x"},`, 20_000), ",") + "]")},
		{"a JSON patch that copies itself", "PATCH", maps_ + "/there", "application/json-patch+json", []byte("[" + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/data","path":"/data/x"},`, 40), ",") + "]")},
		{"a merge patch that is none", "PATCH", maps_ + "/there", "application/merge-patch+json", []byte("[1]")},
		{"a merge patch nested deeply", "PATCH", maps_ + "/there", "application/merge-patch+json", []byte(deep)},
		{"a merge patch of another kind", "PATCH", maps_ + "/there", "application/merge-patch+json", []byte(`{"kind":"Secret"}`)},
		{"a merge patch of the name", "PATCH", maps_ + "/there", "application/merge-patch+json", []byte(`{"metadata":{"name":"other"}}`)},
		{"a merge patch of the UID", "PATCH", maps_ + "/there", "application/merge-patch+json", []byte(`{"metadata":{"uid":"other"}}`)},
		{"a strategic patch that is none", "PATCH", maps_ + "/there", "application/strategic-merge-patch+json", []byte("7")},
		{"a strategic patch of a bad directive", "PATCH", services + "/there", "application/strategic-merge-patch+json", []byte(`{"spec":{"ports":[{"$patch":"nonsense"}]}}`)},
		{"a strategic patch without its key", "PATCH", services + "/there", "application/strategic-merge-patch+json", []byte(`{"spec":{"ports":[{"targetPort":1}]}}`)},
		{"an apply that is no YAML", "PATCH", maps_ + "/there?fieldManager=x", "application/apply-patch+yaml", []byte("a: [")},
		{"an apply without a manager", "PATCH", maps_ + "/there", "application/apply-patch+yaml", configMap("")},
		{"an apply of another name", "PATCH", maps_ + "/there?fieldManager=x", "application/apply-patch+yaml", configMap("")},
		{"an apply of an unknown field", "PATCH", maps_ + "/m?fieldManager=x", "application/apply-patch+yaml", configMap(`,"nonsense":1`)},
		{"an apply nested deeply", "PATCH", maps_ + "/m?fieldManager=x", "application/apply-patch+yaml", configMap(`,"data":` + deep)},
		{"an apply of twins", "PATCH", services + "/m?fieldManager=x", "application/apply-patch+yaml", []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"m"},"spec":{"ports":[{"port":80,"protocol":"TCP"},{"port":80,"protocol":"TCP"}]}}`)},
		{"a manager with a long name", "PATCH", maps_ + "/m?fieldManager=" + strings.Repeat("x", 200), "application/apply-patch+yaml", configMap("")},
		{"a PUT without a name", "PUT", maps_, asJSON, configMap("")},
		{"a PUT of another name", "PUT", maps_ + "/there", asJSON, configMap("")},
		{"a PUT to nothing", "PUT", ranges + "/none", asJSON, []byte(`{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"none"},"spec":{"cidrs":["10.0.0.0/8"]}}`)},
		{"DeleteOptions that are none", "DELETE", maps_ + "/there", asJSON, []byte(`{"gracePeriodSeconds":"x"}`)},
		{"DeleteOptions of both policies", "DELETE", maps_ + "/there", asJSON, []byte(`{"apiVersion":"v1","kind":"DeleteOptions","orphanDependents":true,"propagationPolicy":"Foreground"}`)},
		{"a bad deletion policy", "DELETE", maps_ + "/there", asJSON, []byte(`{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Nonsense"}`)},
		{"a method that is none", "FETCH", maps_, asJSON, nil},
	}
	for _, query := range []string{
		"limit=x", "limit=99999999999999999999", "continue=%00", "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vLi4ifQ",
		"labelSelector=a%20in%20(", "labelSelector=" + strings.Repeat("a,", 20_000) + "a%20in%20(", "labelSelector=" + strings.Repeat("x", 300),
		"fieldSelector=nonsense%3D1", "fieldSelector=%3D%3D%3D", "resourceVersion=-1", "resourceVersion=x", "resourceVersionMatch=Nonsense&resourceVersion=1",
		"resourceVersionMatch=Exact", "watch=1&resourceVersion=x", "watch=1&resourceVersion=-7", "watch=1&sendInitialEvents=true", "watch=1&timeoutSeconds=x",
		"timeoutSeconds=99999999999999999999",
	} {
		name := query
		if len(name) > 60 {
			name = name[:60] + "…"
		}
		rows = append(rows, bad{"?" + name, "GET", maps_ + "?" + query, asJSON, nil})
	}
	for _, path := range []string{
		"/api/v1/nonsense", "/api/v9", "/apis/networking.k8s.io/v9/servicecidrs", "/apis/nonsense", "/api/v1/namespaces/bad-input",
		"/api/v1/namespaces/bad-input/configmaps/there/nonsense", "/api/v1/namespaces/bad-input/configmaps/..%2f..%2fsecrets", "/api/v1/namespaces/%00/configmaps/a",
		"/apis/networking.k8s.io/v1/ipaddresses/not-an-address", "/openapi/v3/nonsense", "/api/v1/namespaces/bad-input/" + strings.Repeat("x", 10_000), "/readyz/nonsense",
	} {
		name := path
		if len(name) > 80 {
			name = name[:80] + "…"
		}
		rows = append(rows, bad{name, "POST", path, asJSON, configMap("")})
	}
	return rows
}

// TestBadInput: what is malformed is answered as the client's fault, with the path of the field where
// there is one; nothing is stored, and the server serves on.
func TestBadInput(t *testing.T) {
	client, err := common.client(false)
	if err != nil {
		t.Fatal(err)
	}
	client.Timeout = time.Minute
	defer client.CloseIdleConnections()
	send := func(b bad) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), b.method, common.config.Host+b.path, bytes.NewReader(b.body))
		if err != nil {
			t.Fatal(b.name, err)
		}
		request.Header.Set("Content-Type", b.kind)
		answer, err := client.Do(request)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return answer.StatusCode, err.Error()
		}
		return answer.StatusCode, string(text)
	}
	for _, b := range []bad{
		{"", "POST", "/api/v1/namespaces", asJSON, []byte(`{"metadata":{"name":"bad-input"}}`)},
		{"", "POST", maps_, asJSON, []byte(`{"metadata":{"name":"there"},"data":{"a":"b"}}`)},
		{"", "POST", services, asJSON, []byte(`{"metadata":{"name":"there"},"spec":{"ports":[{"port":80}]}}`)},
	} {
		if code, text := send(b); code != http.StatusCreated {
			t.Fatal(b.path, code, text)
		}
	}
	stored := func() string {
		all := ""
		for _, path := range []string{maps_, services, ranges, "/api/v1/namespaces/bad-input/resourcequotas"} {
			code, text := send(bad{"", "GET", path, asJSON, nil})
			list := struct{ Items []json.RawMessage }{}
			if err := json.Unmarshal([]byte(text), &list); code != http.StatusOK || err != nil {
				t.Fatal(path, code, err)
			}
			all += fmt.Sprintf("%s\n%s\n", path, list.Items)
		}
		return all
	}
	before, log := stored(), strings.Builder{}
	for _, b := range badInput() {
		began := time.Now()
		code, text := send(b)
		if code < 400 || code >= 500 {
			t.Errorf("%s: %d %.600s", b.name, code, text)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: took %v", b.name, took)
		} else if took > time.Second {
			t.Logf("%s: took %v", b.name, took)
		}
		if alive, _ := send(bad{"", "GET", "/livez", asJSON, nil}); alive != http.StatusOK {
			t.Fatalf("%s: the server does not live any more", b.name)
		}
		fmt.Fprintf(&log, "%s\n    %d %s\n", b.name, code, message(text))
	}
	if after := stored(); after != before {
		t.Errorf("something was stored:\n%s\nwant\n%s", after, before)
	}
	golden(t, "testdata/badinput.golden", log.String())
}

// message is what a client reads of an answer, cut to what a line can hold.
func message(text string) string {
	status := struct{ Message string }{}
	if json.Unmarshal([]byte(text), &status) == nil && status.Message != "" {
		text = status.Message
	}
	for _, u := range unsteady {
		text = u.what.ReplaceAllString(text, u.with)
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if strings.HasPrefix(text, `{ "paths"`) {
		text = "the paths there are"
	}
	if r := []rune(text); len(r) > 230 {
		text = string(r[:150]) + " … " + string(r[len(r)-70:])
	}
	return text
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wanted := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(wanted) || line != wanted[i] {
			t.Errorf("%s:%d: got\n%s", file, i+1, line)
		}
	}
}
