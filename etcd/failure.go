package etcd

import (
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// failure is what etcd could not go on after: a full disk, a broken one, damaged files.
//
// Concurrency: err may be read once happened is closed.
type failure struct {
	once     sync.Once
	happened chan struct{}
	err      error
}

func newFailure() *failure { return &failure{happened: make(chan struct{})} }

// OnWrite is called by etcd's logger for messages of levels fatal and panic, after which etcd takes
// the process for ended. It may hold locks and be half way through a write, so its goroutine must
// neither go on nor unwind: it stays here until the process is ended by whoever waits for happened.
func (f *failure) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.err = errors.New(entry.Message)
		for _, field := range fields {
			if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
				f.err = fmt.Errorf("%s: %w", entry.Message, err)
			}
		}
		close(f.happened)
	})
	select {}
}

// explain says what to do about an error of a member on dir.
func explain(dir string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("etcd: write to %s: %w; make space there and start again: all that was acknowledged is kept", dir, err)
	}
	return fmt.Errorf("etcd: run on %s: %w", dir, err)
}
