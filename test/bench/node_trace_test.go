package bench_test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// trace is when the runtime did what for a Pod of one container, by its log.
type trace struct {
	sandbox, sandboxed, pull, pulled, create, created, start, started time.Time
}

// The lines of containerd's log that tell of a Pod, without time and level:
//
//	RunPodSandbox for &PodSandboxMetadata{Name:a1,Uid:2bfa…,}
//	RunPodSandbox for &PodSandboxMetadata{Name:a1,Uid:2bfa…,} returns sandbox id "bd02…"
//	CreateContainer within sandbox "bd02…" for container &ContainerMetadata{Name:a1,Attempt:0,}
//	CreateContainer within sandbox "bd02…" for &ContainerMetadata{Name:a1,Attempt:0,} returns container id "1276…"
//	StartContainer for "1276…"
//	StartContainer for "1276…" returns successfully
var (
	logLine    = regexp.MustCompile(`^time="([^"]+)" level=info msg=(".*")`)
	ranSandbox = regexp.MustCompile(`^RunPodSandbox for &PodSandboxMetadata\{Name:([^,]+),.*?\}(?: returns sandbox id "(\w+)")?$`)
	createdOne = regexp.MustCompile(`^CreateContainer within sandbox "(\w+)" for .*?\}(?: returns container id "(\w+)")?$`)
	startedOne = regexp.MustCompile(`^StartContainer for "(\w+)"( returns successfully)?$`)
	pulledOne  = regexp.MustCompile(`^PullImage "[^"]+"( returns image reference .*)?$`)
)

// traces reads what containerd of a node did, by the Pods' names. Pulls do not say for whom: they
// belong to the Pod whose sandbox began last.
func (c *lab) traces(b *testing.B, node string) map[string]*trace {
	b.Helper()
	file, err := os.Open(filepath.Join(c.Root(node), "logs", "containerd.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	all, by := map[string]*trace{}, map[string]*trace{}
	last := &trace{}
	of := func(id string) *trace {
		if by[id] == nil {
			by[id] = &trace{} // of one whose beginning the log does not have
		}
		return by[id]
	}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := logLine.FindStringSubmatch(lines.Text())
		if line == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, line[1])
		text, unquoted := strconv.Unquote(line[2])
		if err != nil || unquoted != nil {
			continue
		}
		pick := func(m []string, before, after *time.Time) {
			if m[len(m)-1] == "" {
				*before = at
			} else {
				*after = at
			}
		}
		switch verb, _, _ := strings.Cut(text, " "); verb {
		case "RunPodSandbox":
			if m := ranSandbox.FindStringSubmatch(text); m != nil {
				if all[m[1]] == nil {
					all[m[1]] = &trace{}
					last = all[m[1]]
				}
				by[m[2]] = all[m[1]]
				pick(m, &all[m[1]].sandbox, &all[m[1]].sandboxed)
			}
		case "CreateContainer":
			if m := createdOne.FindStringSubmatch(text); m != nil {
				t := of(m[1])
				by[m[2]] = t
				pick(m, &t.create, &t.created)
			}
		case "StartContainer":
			if m := startedOne.FindStringSubmatch(text); m != nil {
				pick(m, &of(m[1]).start, &of(m[1]).started)
			}
		case "PullImage":
			if m := pulledOne.FindStringSubmatch(text); m != nil {
				pick(m, &last.pull, &last.pulled)
			}
		}
	}
	return all
}

// stages of a Pod's way to Ready, in order; each begins where the one before ends, apart from
// "pull", which is beside the sandbox.
type stages struct{ bound, begun, sandbox, prepare, create, start, shown, pull []time.Duration }

func (s *stages) add(created time.Time, seen seen, t *trace) {
	if t == nil {
		return
	}
	s.bound = append(s.bound, seen.bound.Sub(created))
	s.begun = append(s.begun, t.sandbox.Sub(created))
	s.sandbox = append(s.sandbox, t.sandboxed.Sub(t.sandbox))
	s.prepare = append(s.prepare, t.create.Sub(t.sandboxed))
	s.create = append(s.create, t.created.Sub(t.create))
	s.start = append(s.start, t.started.Sub(t.created))
	s.shown = append(s.shown, seen.ready.Sub(t.started))
	if !t.pull.IsZero() {
		s.pull = append(s.pull, t.pulled.Sub(t.pull))
	}
}

func (s *stages) report(b *testing.B) {
	b.Helper()
	for _, stage := range []struct {
		name string
		took []time.Duration
	}{
		{"bound-seen-ms", s.bound},
		{"1-to-sandbox-ms", s.begun},
		{"2-sandbox-ms", s.sandbox},
		{"3-prepare-ms", s.prepare},
		{"4-create-ms", s.create},
		{"5-start-ms", s.start},
		{"6-shown-ms", s.shown},
		{"pull-ms", s.pull},
	} {
		if len(stage.took) > 0 {
			b.ReportMetric(median(stage.took), stage.name)
		}
	}
}
