package duet_test

import (
	"go/ast"
	"go/parser"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// named matches how the documents name code: `clusterip/plan.go:Plan`, `clusterip/space.go:Space.Guard`.
var named = regexp.MustCompile(`([\w./-]+\.go):((?:\w+\.)?\w+)`)

// TestFlowsNameCode: what a step of a flow names still exists.
func TestFlowsNameCode(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"docs/flows/*.md", "docs/adr/*.md"} {
		more, err := filepath.Glob(dir)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	files := sources(t, parser.SkipObjectResolution)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			file, name := m[1], m[2]
			syntax, ok := files[file]
			if !ok {
				t.Errorf("%s names %s, but there is no such file", page, m[0])
			} else if !declares(syntax, name) {
				t.Errorf("%s names %s, but %s declares no %s", page, m[0], file, name)
			}
		}
	}
}

// declares tells whether a file declares a function, a type, a constant or a variable of that name,
// or a method, as Type.Method.
func declares(file *ast.File, name string) bool {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if funcName(d) == name {
				return true
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.Name == name {
						return true
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						if n.Name == name {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.StarExpr:
			receiver = r.X
		case *ast.IndexExpr: // of a generic type
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		case *ast.Ident:
			return r.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}
