package apiserver

import (
	"errors"
	"net"
	"sync"
)

// listeners is one net.Listener over several: the socket handed over from the host's namespace and
// those of our own.
type listeners struct {
	all   []net.Listener
	conns chan net.Conn
	done  chan struct{}
	close func() error
}

func newListeners(all []net.Listener) net.Listener {
	if len(all) == 1 {
		return all[0]
	}
	l := &listeners{all: all, conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceValue(func() error {
		close(l.done)
		var errs []error
		for _, one := range l.all {
			errs = append(errs, one.Close())
		}
		return errors.Join(errs...)
	})
	for _, one := range all {
		go l.accept(one)
	}
	return l
}

// accept hands over connections until its listener is closed.
func (l *listeners) accept(from net.Listener) {
	for {
		conn, err := from.Accept()
		if err != nil {
			select {
			case <-l.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // a connection that was gone before it was taken
		}
		select {
		case l.conns <- conn:
		case <-l.done:
			_ = conn.Close()
			return
		}
	}
}

func (l *listeners) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listeners) Close() error   { return l.close() }
func (l *listeners) Addr() net.Addr { return l.all[0].Addr() }
