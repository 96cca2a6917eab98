package node

import (
	"context"
	"testing"

	"github.com/duetk8s/duet/cri"
)

// What the tests of the whole agent use of those of its parts: they stand outside because assemble,
// which starts their API server, knows this package.
const (
	Image   = image
	Forever = forever
)

var (
	NewBox = newBox
	Ready  = ready
)

func (b *box) Dir() string                    { return b.dir }
func (b *box) Socket() string                 { return b.socket }
func (b *box) Cgroup() string                 { return b.cgroup() }
func (b *box) Dial(t *testing.T) *cri.Runtime { return b.dial(t) }

// JoinAs gives an agent an identity.
func JoinAs(a *Agent, me self) {
	a.join = func(context.Context, Config) (self, error) { return me, nil }
}
