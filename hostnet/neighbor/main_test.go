package neighbor

import (
	"os"
	"testing"

	"github.com/duetk8s/duet/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) }
