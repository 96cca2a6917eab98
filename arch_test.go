package duet_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/duetk8s/duet"

// The parts that a running cluster is put together from. They meet at the API, never in Go: each
// could be a process of its own, and a change in one cannot break another.
var components = []string{
	"apiserver", "check", "controllers/*", "dns", "lab", "loadbalancer", "node", "proxy", "registry", "scheduler",
}

// What lies below a component but is there for its neighbours too, each with the reason.
var shared = map[string]string{
	"apiserver/access/aggregation": "pure: the rules that a role aggregates, for the authorizer's bootstrap and the controller",
	"controllers/byservice":        "which EndpointSlices a Service has, by one index for all that share an informer",
	"controllers/catalog":          "which kinds the API serves, for the controllers that treat all kinds alike",
	"controllers/listen":           "how a component is told of objects by informers",
	"controllers/queue":            "the work queue that every controller runs on",
	"controllers/selection":        "which Services select a Pod, for the two controllers that publish endpoints",
}

// rule forbids packages of this module to import others. In both lists "x" is that package and
// everything below it, "x/*" the same for each folder in x, and a name with "=" before it is that
// package alone.
type rule struct {
	who     []string
	not     []string
	except  []string // of what not forbids
	because string
}

var rules = []rule{
	{
		who: []string{"."}, not: []string{"k8s.io/kubernetes"},
		because: "it is not a library; the mission's logic is ours to write",
	},
	{
		who: []string{"clusterip", "fit", "hosts", "dualstack"},
		not: []string{
			"=os", "os/exec", "os/signal", "=net", "net/http", "syscall", "golang.org/x/sys",
			"k8s.io/client-go", "k8s.io/apiserver", "go.etcd.io", module,
		},
		except:  []string{module + "/dualstack"},
		because: "it decides, and leaves the doing to others, so that it can be tested as a table",
	},
	{
		who: []string{"dualstack"}, not: []string{"k8s.io", "sigs.k8s.io", "github.com", "golang.org/x"},
		because: "everybody imports it: standard library only",
	},
	{
		who: []string{"etcd", "pki", "cri", "nft", "hostnet"}, not: []string{module},
		except:  []string{module + "/dualstack", module + "/nft"}, // a node's own rules are hostnet's
		because: "a driver knows one thing outside the program and nothing inside it",
	},
	{
		who: []string{"assemble"}, not: []string{module + "/cli", module + "/lab"},
		because: "it wires what a process runs; the command line and the lab start processes",
	},
	{
		who: []string{"cli"}, not: []string{module},
		except:  []string{module + "/assemble", module + "/check", module + "/cli", module + "/dualstack", module + "/lab", module + "/pki", module + "/registry/load"},
		because: "it turns flags into configuration; assemble knows the components",
	},
	{
		who: []string{"cmd/duet"}, not: []string{module}, except: []string{module + "/cli"},
		because: "it is main and nothing else",
	},
	{
		who: []string{"apiserver", "assemble", "controllers", "etcd", "lab", "node", "pki"}, not: []string{"k8s.io/kubectl/pkg/cmd", "github.com/spf13/cobra"},
		because: "the command line belongs to package cli",
	},
	{
		who: []string{"controllers"}, not: []string{"go.etcd.io"},
		because: "a controller sees the API only, with the rights of its own identity",
	},
}

// TestArchitecture holds the imports of every package, its tests left out, against the rules.
func TestArchitecture(t *testing.T) {
	for dir, imports := range importsOfModule(t) {
		for _, imported := range imports {
			for _, r := range rules {
				if under(dir, r.who) && under(imported, r.not) && !under(imported, r.except) && imported != module+"/"+dir {
					t.Errorf("%s imports %s: %s", dir, imported, r.because)
				}
			}
			from, to := componentOf(dir), componentOf(strings.TrimPrefix(imported, module+"/"))
			if strings.HasPrefix(imported, module+"/") && from != "" && to != "" && from != to {
				t.Errorf("%s imports %s: components meet at the API, never in Go", dir, imported)
			}
		}
	}
}

// componentOf returns which component a package belongs to, "" for none of them alone.
func componentOf(dir string) string {
	if shared[dir] != "" {
		return ""
	}
	for _, c := range components {
		parent, each := strings.CutSuffix(c, "/*")
		if !under(dir, []string{parent}) {
			continue
		}
		if !each {
			return c
		}
		if rest, ok := strings.CutPrefix(dir, parent+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			return parent + "/" + first
		}
	}
	return ""
}

// under tells whether a package is one of those that a list of a rule names.
func under(pkg string, list []string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		if exact, ok := strings.CutPrefix(p, "="); ok {
			return pkg == exact
		}
		return p == "." || pkg == p || strings.HasPrefix(pkg, p+"/")
	})
}

// TestPackageDocs: every package says what it is for before its first line of code.
func TestPackageDocs(t *testing.T) {
	documented := map[string]bool{}
	for file, syntax := range sources(t, parser.ParseComments|parser.PackageClauseOnly) {
		dir := path.Dir(file)
		want := "Package " + syntax.Name.Name + " "
		if syntax.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		documented[dir] = documented[dir] || syntax.Doc != nil && strings.HasPrefix(syntax.Doc.Text(), want)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment that begins with its name", dir)
		}
	}
}

// importsOfModule returns, for each package's folder, what its files import.
func importsOfModule(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for file, syntax := range sources(t, parser.ImportsOnly) {
		dir := path.Dir(file)
		for _, i := range syntax.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(file, err)
			}
			if !slices.Contains(out[dir], name) {
				out[dir] = append(out[dir], name)
			}
		}
	}
	return out
}

// sources parses every Go file of the module but its tests; keys are paths with slashes.
func sources(t *testing.T, mode parser.Mode) map[string]*ast.File {
	t.Helper()
	out := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); file != "." && (err == nil || strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || file == "bin" || file == "build") {
				return fs.SkipDir // not part of this module
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
		out[filepath.ToSlash(file)] = syntax
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no sources found; run this test from the root of the module")
	}
	return out
}

// TestRules: the rules themselves refuse what they are there for.
func TestRules(t *testing.T) {
	rows := []struct {
		name string
		pkg  string
		list []string
		want bool
	}{
		{"itself", "clusterip", []string{"clusterip"}, true},
		{"below", "apiserver/service", []string{"apiserver"}, true},
		{"a longer name", "clusterips", []string{"clusterip"}, false},
		{"exactly", "net", []string{"=net"}, true},
		{"below an exact one", "net/netip", []string{"=net"}, false},
		{"everything", "anything/at/all", []string{"."}, true},
	}
	for _, row := range rows {
		if got := under(row.pkg, row.list); got != row.want {
			t.Errorf("%s: under(%q, %v) = %t", row.name, row.pkg, row.list, got)
		}
	}
	if a, b := componentOf("controllers/servicecidr"), componentOf("controllers/namespace/internal/x"); a != "controllers/servicecidr" || b != "controllers/namespace" {
		t.Errorf("controllers are one component each, got %q and %q", a, b)
	}
}
