package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that a box inherits, by number.
const (
	fdBoxStart  = 3 + iota // read end of a pipe, see startWord
	fdBoxReport            // write end of a pipe, see BoxConfig
	fdBoxLock              // the lock on the node's root
)

// startWord lets the agent of a box run.
const startWord = "start\n"

// boxArgs are the flags of a box and, after them, the command line of its agent. --root comes
// first: see boxRoot.
func (l *Lab) boxArgs(dir string, s Settings, node string) []string {
	return slices.Concat([]string{
		"box", option("root", nodeRoot(dir, node)), option("cgroup", nodeCgroup(s.Name, node)),
		option("start-fd", fdBoxStart), option("report-fd", fdBoxReport), "--",
	}, l.Program, agentArgs(dir, s, node))
}

// boxRoot returns the node's root of a process if it is a box that up has started, which always
// says `box --root=DIR`.
func boxRoot(pid int) (string, bool) {
	argv := cmdline(pid)
	i := slices.Index(argv, "box")
	if i < 0 || i+1 >= len(argv) {
		return "", false
	}
	return strings.CutPrefix(argv[i+1], "--root=")
}

// boxPID returns the process that is the box of a node, 0 if there is none.
func boxPID(dir, node string) (int, error) {
	root := nodeRoot(dir, node)
	pid, err := holder(root)
	if err != nil || pid == 0 {
		return 0, err
	}
	if at, ok := boxRoot(pid); !ok || !sameDir(at, root) {
		return 0, nil
	}
	return pid, nil
}

// boxedAsWanted tells whether the node's box runs, with the arguments that up would give it now.
func (l *Lab) boxedAsWanted(dir string, s Settings, node string) (bool, error) {
	pid, err := boxPID(dir, node)
	if err != nil || pid == 0 {
		return false, err
	}
	return slices.Equal(cmdline(pid), slices.Concat(l.Program, l.boxArgs(dir, s, node))), nil
}

// newborn is a box that this process has just started.
type newborn struct {
	node    string
	process *os.Process
	start   *os.File // write end
	report  *os.File // read end
	lines   *bufio.Reader
}

// startBox makes the node's place anew, starts its box and returns when containerd serves. If it
// fails nothing of the node runs.
func (l *Lab) startBox(ctx context.Context, dir string, s Settings, node string) (*newborn, error) {
	root := nodeRoot(dir, node)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", node, err)
	}
	if err := removeNode(s.Name, node); err != nil { // what a killed box has left
		return nil, err
	}
	lock, err := LockData(root)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := furnish(dir, s, node); err != nil {
		return nil, err
	}
	if err := buildNode(s, node); err != nil {
		return nil, fmt.Errorf("build the network of %s: %w", node, err)
	}
	b, err := l.launch(dir, s, node, lock)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", node, err)
	}
	if err := b.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", node, err), b.kill())
	}
	return b, nil
}

// launch starts the process. Its namespaces begin with it, so that it is the first in them.
func (l *Lab) launch(dir string, s Settings, node string, lock *Lock) (*newborn, error) {
	log, err := openLog(filepath.Join(nodeRoot(dir, node), "logs", "box.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	startRead, startWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer startRead.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		startWrite.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer reportWrite.Close()
	b := &newborn{node: node, start: startWrite, report: reportRead, lines: bufio.NewReader(reportRead)}
	err = within(namespaceName(s.Name, node), func() error {
		b.process, err = os.StartProcess(l.Program[0], slices.Concat(l.Program, l.boxArgs(dir, s, node)), &os.ProcAttr{
			Dir: "/", Env: os.Environ(),
			Files: []*os.File{null, log, log, fdBoxStart: startRead, fdBoxReport: reportWrite, fdBoxLock: lock.File},
			Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS},
		})
		return err
	})
	if err == nil {
		if err = lock.SetPID(b.process.Pid); err != nil {
			err = errors.Join(err, b.kill())
		}
		return b, err
	}
	b.start.Close()
	b.report.Close()
	return nil, err
}

// await waits for the box's word that containerd serves.
func (b *newborn) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("containerd does not serve after %s", readyTimeout))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = b.report.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := b.lines.ReadString('\n')
	switch {
	case line == Ready:
		return nil
	case ctx.Err() != nil:
		return interruption(ctx)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case line == "":
		return errors.New("its box ended at once; see logs/box.log in its folder")
	}
	return errors.New(strings.TrimSpace(line))
}

// admit lets the agent run, which joins the cluster with the token.
func (b *newborn) admit(dir, token string) error {
	name := filepath.Join(nodeRoot(dir, b.node), tokenFile)
	if err := os.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
		return fmt.Errorf("hand the token to %s: %w", b.node, err)
	}
	if _, err := b.start.WriteString(startWord); err != nil {
		return fmt.Errorf("start the agent of %s: %w", b.node, err)
	}
	return nil
}

// fails returns what the box complains about next, or nil when ctx ends.
func (b *newborn) fails(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = b.report.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := b.lines.ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if line == "" {
		line = "its box ended"
	}
	return fmt.Errorf("%s: %s", b.node, strings.TrimSpace(line))
}

// release lets go of a box, which lives on.
func (b *newborn) release() {
	b.start.Close()
	b.report.Close()
	_ = b.process.Release()
}

// kill ends a box and all that is in it.
func (b *newborn) kill() error {
	b.start.Close()
	b.report.Close()
	if err := b.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the box of %s: %w", b.node, err)
	}
	_, err := b.process.Wait()
	return err
}
