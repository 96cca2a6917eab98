package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// BoxConfig says what runs in a node's box.
type BoxConfig struct {
	// Root is where the node's state is.
	Root string
	// Cgroup of the node, "/duet/NAME/worker0".
	Cgroup string
	// Agent is the command line of the node agent.
	Agent []string
	// Start is where `duet up` says when the agent may run; its end before that word ends the box.
	Start *os.File
	// Report is where the box says Ready once containerd serves, and what goes wrong before
	// and after that, a line each.
	Report *os.File
}

// RunBox is the first process of a box: a pid and a mount namespace of their own, in the node's
// network namespace. It runs containerd and the agent, starts them again when they end, and reaps
// the orphans of all others. With it, killed or not, every process, mount and network namespace of
// the node ends, so nothing needs to be cleaned up after a box.
func RunBox(ctx context.Context, cfg BoxConfig) error {
	if os.Getpid() != 1 {
		return errors.New("a box is the first process of a pid namespace: `duet up` starts it")
	}
	debug.SetGCPercent(10) // it lives long and does little
	err := furnishBox(cfg)
	if err == nil {
		var b *box
		if b, err = newBox(cfg); err == nil {
			err = b.run(ctx)
		}
	}
	if err != nil {
		tell(cfg.Report, err.Error())
	}
	return err
}

// furnishBox makes the box a place of its own and removes what a box before has left: nothing of
// that can be alive.
func furnishBox(cfg BoxConfig) error {
	if err := enterCgroup(cfg.Cgroup + "/" + cgroupBox); err != nil {
		return err
	}
	err := errors.Join(os.RemoveAll(filepath.Join(cfg.Root, containerdState)), freeAddresses(filepath.Join(cfg.Root, cniState)))
	if err != nil {
		return fmt.Errorf("remove the state of the last run: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cut off the mounts of the box: %w", err)
	}
	if err := coverCNICache(cfg.Root); err != nil {
		return err
	}
	return mountBox(cfg.Root)
}

// freeAddresses removes what the CNI plugins know: where Pods' network namespaces ended, so did the hold on
// their addresses. Which one host-local gave last is kept, so that it goes on behind it, as on a machine
// that was started anew: what was an address of one Pod is not another's right afterwards, while somebody
// may still take it for the first.
func freeAddresses(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // the node is new
			return nil
		case err != nil || d.IsDir() || strings.HasPrefix(d.Name(), "last_reserved_ip."):
			return err
		}
		return os.Remove(path)
	})
}

// cniCache is where the CNI library in containerd remembers what it was told about Pods. It cannot
// be told another place, and two nodes may not share it.
const cniCache = "/var/lib/cni"

// coverCNICache puts a folder of the node's over it. On most machines it has to be made for that;
// removeCNICache takes it away again.
func coverCNICache(root string) error {
	own := filepath.Join(root, cniState, "cache")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return fmt.Errorf("make the CNI cache: %w", err)
	}
	return withNetnsDir(func() error {
		if err := os.MkdirAll(cniCache, 0o700); err != nil {
			return fmt.Errorf("make the CNI cache: %w", err)
		}
		if err := unix.Mount(own, cniCache, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s of the box: %w", cniCache, err)
		}
		return nil
	})
}

// mountBox gives the box mounts of its own, shared among themselves, because Pods may ask for mounts
// to propagate. /proc shows the box's processes; /run is its own, because
// the shims put their sockets there, and none of them outlives the box.
func mountBox(root string) error {
	// What must stay visible: where a resolv.conf may link to, and data that is kept in /run.
	keep := map[string]int{}
	for _, path := range []string{"/run/systemd/resolve", root} {
		if !strings.HasPrefix(path, "/run/") {
			continue
		}
		if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			keep[path] = fd
			defer unix.Close(fd)
		}
	}
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s of the box: %w", m.target, err)
		}
	}
	for path, fd := range keep {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("mount %s of the box: %w", path, err)
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s of the box: %w", path, err)
		}
	}
	return nil
}

// box is the state of the first process. Its loop owns all of it.
type box struct {
	cfg         BoxConfig
	containerd  child
	agent       child
	notify      *net.UnixConn
	signals     chan os.Signal
	booted, may chan error
	again       chan *child
}

// child is a program that the box keeps running.
type child struct {
	name, log string
	argv, env []string
	pid       int // 0 while it does not run
	logged    int64
	started   time.Time
	pause     time.Duration // before the next start
}

// A child that keeps dying is started again after pauses that double between these bounds; after
// one that has lived long enough, at once.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
	longLife   = 10 * time.Second
)

func newBox(cfg BoxConfig) (*box, error) {
	b := &box{
		cfg:     cfg,
		signals: make(chan os.Signal, 16),
		booted:  make(chan error, 1), may: make(chan error, 1), again: make(chan *child),
	}
	// containerd says "READY=1" there, as to systemd. The name is seen in this network namespace only.
	address := &net.UnixAddr{Name: "@duet-box", Net: "unixgram"}
	var err error
	if b.notify, err = net.ListenUnixgram("unixgram", address); err != nil {
		return nil, fmt.Errorf("listen for containerd: %w", err)
	}
	b.containerd = child{
		name: "containerd", log: filepath.Join(cfg.Root, "logs", "containerd.log"),
		argv: []string{"containerd", "--config", filepath.Join(cfg.Root, containerdConfig)},
		env:  append(environ(), "NOTIFY_SOCKET="+address.Name),
	}
	b.agent = child{name: "the node agent", log: filepath.Join(cfg.Root, "logs", "node.log"), argv: cfg.Agent, env: environ()}
	return b, nil
}

// run is the loop of the first process; it ends with ctx, or when `duet up` has died before it was
// done.
func (b *box) run(ctx context.Context) error {
	signal.Notify(b.signals, unix.SIGCHLD)
	go b.listen()
	go b.await()
	if err := b.start(&b.containerd); err != nil {
		return err
	}
	for {
		select {
		case <-b.signals:
			b.reap(ctx)
		case err := <-b.booted:
			if err != nil {
				return err
			}
			tell(b.cfg.Report, strings.TrimSpace(Ready))
			forgetProgram()
		case err := <-b.may:
			if err != nil {
				return err
			}
			if err := b.start(&b.agent); err != nil {
				return err
			}
		case c := <-b.again:
			if err := b.start(c); err != nil {
				tell(b.cfg.Report, err.Error())
				b.later(ctx, c)
			}
		case <-ctx.Done():
			b.stop()
			return nil
		}
	}
}

// listen tells the loop when containerd serves for the first time.
func (b *box) listen() {
	buffer := make([]byte, 1024)
	for {
		n, err := b.notify.Read(buffer)
		if err != nil {
			b.booted <- fmt.Errorf("listen for containerd: %w", err)
			return
		}
		if strings.Contains(string(buffer[:n]), "READY=1") {
			b.booted <- nil
			break
		}
	}
	for { // of later starts nothing needs to be known, but they must not block
		if _, err := b.notify.Read(buffer); err != nil {
			return
		}
	}
}

// await tells the loop when the agent may run.
func (b *box) await() {
	said, err := bufio.NewReader(b.cfg.Start).ReadString('\n')
	b.cfg.Start.Close()
	if said != startWord {
		b.may <- fmt.Errorf("`duet up` ended before the node could join: %w", err)
		return
	}
	b.may <- nil
}

// start runs a child. Standard input is empty, output and errors go to its log.
func (b *box) start(c *child) error {
	log, err := openLog(c.log)
	if err != nil {
		return err
	}
	defer log.Close()
	if c.logged, err = log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	program, err := findProgram(c.argv[0])
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	// Not os/exec: its Wait and our reaping would take each other's children.
	p, err := os.StartProcess(program, c.argv, &os.ProcAttr{
		Dir: "/", Env: c.env, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.pid, c.started = p.Pid, time.Now()
	return p.Release()
}

// reap collects everything that has died, and sees to it that children of ours come back.
func (b *box) reap(ctx context.Context) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 || err != nil { // ECHILD: none left
			return
		}
		for _, c := range []*child{&b.containerd, &b.agent} {
			if c.pid != pid {
				continue
			}
			c.pid = 0
			tell(b.cfg.Report, fmt.Sprintf("%s ended (%s), and its log says %q; see %s", c.name, describe(status), tellingLine(c.log, c.logged), c.log))
			b.later(ctx, c)
		}
	}
}

// later starts a child again: at once if it has lived long enough to be worth it.
func (b *box) later(ctx context.Context, c *child) {
	wait := c.pause
	c.pause = min(max(2*c.pause, firstPause), longPause)
	if time.Since(c.started) > longLife {
		wait, c.pause = 0, firstPause
	}
	time.AfterFunc(wait, func() {
		select {
		case b.again <- c:
		case <-ctx.Done():
		}
	})
}

// stop ends the agent, then containerd; what is left ends with us.
func (b *box) stop() {
	for _, c := range []*child{&b.agent, &b.containerd} {
		if c.pid != 0 {
			_ = stopProcess(c.pid, boxGrace, func() bool { return true })
		}
	}
}

// boxGrace is how long a child may take to end when its box is told to.
const boxGrace = 5 * time.Second

// systemPath is added to PATH: that of a user may lack where administrators' programs are.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func environ() []string {
	return append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+systemPath)
}

// findProgram returns where the program of that name is, in PATH or where the system has them.
func findProgram(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err == nil || filepath.IsAbs(name) {
		return found, err
	}
	for dir := range strings.SplitSeq(systemPath, ":") {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return found, nil
		}
	}
	return "", err
}

func describe(status unix.WaitStatus) string {
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// tell writes a line to the one who started us; after it has gone, nobody needs it.
func tell(report *os.File, line string) {
	_, _ = report.WriteString(strings.ReplaceAll(line, "\n", "; ") + "\n")
}
