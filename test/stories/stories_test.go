// Package stories tells what a user does with stock kubectl against the real program, one txtar file
// for each subject. A story starts with
//
//	shared                     the server of all stories, in a namespace of the story's own ($NS)
//	server --service-cidr …    a server of its own, with the flags of `duet server`
//
// and then says commands and what they print. The commands beside those of testscript (exec, cmp,
// stdout, stderr, env …) are in commands_test.go. `go test ./test/stories -update` rewrites what
// `cmp` compares with; stdout is compared with ages, times, UIDs and revisions made equal.
//
// The program is bin/duet, or what $DUET names.
package stories

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the program prints into testdata")

// duet is the program under test; common is the server that most stories share.
var (
	duet   string
	common *server
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "duet-stories")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if duet, err = program(dir); err == nil {
		common, err = newServer(dir, "--service-cidr", "10.96.0.0/16,fd00:10:96::/112")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer common.stop()
	return m.Run()
}

// program finds the binary that `make test` has just built, or builds one.
func program(dir string) (string, error) {
	if named := os.Getenv("DUET"); named != "" {
		return filepath.Abs(named)
	}
	built, err := filepath.Abs("../../bin/duet")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	built = filepath.Join(dir, "duet")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-o", built, "../../cmd/duet").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build duet: %w: %s", err, out)
	}
	return built, nil
}

func TestStories(t *testing.T) {
	kubectl.Program, kubectl.Home = duet, t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, Cmds: commands(), ContinueOnError: *update,
		Setup: func(e *testscript.Env) error {
			e.Values[current{}] = &current{}
			return kubectl.Setup(e)
		},
	})
}
