package stories

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/duetk8s/duet/test/cluster"
)

// commands are what stories say beside testscript's own:
//
//	kubectl, within, capture      as [cluster.Kubectl.Commands] says
//	raw METHOD PATH [-anonymous] [-header KEY:VALUE] [-show KEY] [FILE]
//	                              a request without kubectl, FILE as its body; prints the code, the
//	                              headers to show, and the answer
//	server, restart, shutdown     a server of the story's own; restart keeps its data
//	sort                          the last output, line by line in order
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := kubectl.Commands()
	maps.Copy(all, map[string]func(*testscript.TestScript, bool, []string){
		"shared": cmdShared, "server": cmdServer, "restart": cmdRestart, "shutdown": cmdShutdown, "raw": cmdRaw, "sort": cmdSort,
	})
	return all
}

// kubectl of the stories; within tries for 10 s.
var kubectl = cluster.Kubectl{Within: 10 * time.Second, Pause: 50 * time.Millisecond, Steady: steady}

// current is the server of one story.
type current struct{ server *server }

func serverOf(ts *testscript.TestScript) *current { return ts.Value(current{}).(*current) }

func cmdShared(ts *testscript.TestScript, _ bool, _ []string) {
	text, err := os.ReadFile(common.kubeconfig)
	ts.Check(err)
	file, ns := ts.MkAbs(".kubeconfig"), ts.Getenv("NS")
	ts.Check(os.WriteFile(file, text, 0o600))
	serverOf(ts).server = common
	ts.Setenv("KUBECONFIG", file)
	ts.Setenv("DATA", common.dir)
	for _, args := range [][]string{{"create", "namespace", ns}, {"config", "set-context", "--current", "--namespace", ns}} {
		if _, stderr, err := kubectl.Run(ts, args...); err != nil {
			ts.Fatalf("%v: %s", err, stderr)
		}
	}
}

func cmdServer(ts *testscript.TestScript, _ bool, flags []string) {
	s, err := newServer(ts.MkAbs("."), flags...)
	ts.Check(err)
	ts.Defer(func() { _ = s.stop() })
	serverOf(ts).server = s
	ts.Setenv("KUBECONFIG", s.kubeconfig)
	ts.Setenv("DATA", s.dir)
}

func cmdRestart(ts *testscript.TestScript, _ bool, flags []string) {
	ts.Check(serverOf(ts).server.stop())
	cmdServer(ts, false, flags)
}

func cmdShutdown(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(serverOf(ts).server.stop()) }

func cmdRaw(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: raw METHOD PATH [-anonymous] [-header KEY:VALUE] [-show KEY] [FILE]")
	}
	request, err := http.NewRequestWithContext(context.Background(), args[0], serverOf(ts).server.config.Host+args[1], nil)
	ts.Check(err)
	anonymous, show := false, []string{}
	for args = args[2:]; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "-anonymous":
			anonymous = true
		case "-header":
			key, value, _ := strings.Cut(args[1], ":")
			request.Header.Set(key, strings.TrimSpace(value))
			args = args[1:]
		case "-show":
			show, args = append(show, args[1]), args[1:]
		default:
			request.Body = io.NopCloser(strings.NewReader(ts.ReadFile(args[0])))
		}
	}
	client, err := serverOf(ts).server.client(anonymous)
	ts.Check(err)
	client.Timeout = 20 * time.Second
	answer, err := client.Do(request)
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), answer.StatusCode)
	for _, key := range show {
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", key, strings.Join(answer.Header.Values(key), ", "))
	}
	text := steady(ts, string(body))
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	fmt.Fprint(ts.Stdout(), text)
}

func cmdSort(ts *testscript.TestScript, _ bool, _ []string) {
	lines := strings.SplitAfter(ts.ReadFile("stdout"), "\n")
	slices.Sort(lines)
	fmt.Fprint(ts.Stdout(), strings.Join(lines, ""))
}

// unsteady is what differs between two runs of a story: what it looks like and what stands for it.
var unsteady = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000`), "<time>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uid>"},
	{regexp.MustCompile(`("?resourceVersion"?: ?"?)\d+`), "${1}<revision>"},
	{regexp.MustCompile(`(?m)(  +)(?:\d{1,3}s|\d{1,2}m(?:\d+s)?)(  +|$)`), "${1}0s${2}"},
	{regexp.MustCompile(`"A_\.-\w{5}"`), `"A_.-<random>"`},
	{regexp.MustCompile(`X509SHA256=[0-9a-f]{64}`), "X509SHA256=<hash>"},
}

// steady makes an output the same in every run.
func steady(ts *testscript.TestScript, text string) string {
	for _, u := range unsteady {
		text = u.what.ReplaceAllString(text, u.with)
	}
	return strings.ReplaceAll(text, ts.Getenv("WORK"), "$WORK")
}
