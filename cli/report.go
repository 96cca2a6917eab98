package cli

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/lab"
)

// report tells the one who started us, on the other end of a pipe, that we serve or why not.
type report struct {
	mu   sync.Mutex
	pipe *os.File // nil when there is nobody to tell, or all has been said
}

func newReport(fd int) *report {
	if fd == noFD {
		return &report{}
	}
	unix.CloseOnExec(fd)
	return &report{pipe: os.NewFile(uintptr(fd), "ready-fd")}
}

func (r *report) ready() { r.say(lab.Ready) }

func (r *report) close(err error) {
	if err != nil {
		r.say(oneLine(err))
	}
}

// say has one word only.
func (r *report) say(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pipe == nil {
		return
	}
	_, _ = r.pipe.WriteString(what) // whoever listened may have gone: nothing depends on it
	r.pipe.Close()
	r.pipe = nil
}
