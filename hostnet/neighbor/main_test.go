package neighbor

import (
	"testing"

	"github.com/duetk8s/duet/hostnet/sandbox"
)

func TestMain(m *testing.M) { sandbox.Main(m) }
