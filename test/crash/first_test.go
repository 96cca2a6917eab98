package crash

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCrashFirstStart kills servers while they make their data directory: the next one finishes it.
func TestCrashFirstStart(t *testing.T) {
	kills := max(4, int(number(t, "DUET_CRASH_KILLS", 8))/4)
	seed := number(t, "DUET_CRASH_SEED", rand.Uint64())
	t.Logf("%d kills DUET_CRASH_SEED=%d", kills, seed)
	moments := rand.New(rand.NewPCG(seed, 0))
	for kill := range kills {
		s := newServer(t, t.TempDir())
		for range 1 + moments.IntN(2) {
			s.start(t)
			time.Sleep(time.Duration(moments.Int64N(int64(400 * time.Millisecond))))
			s.kill()
		}
		s.start(t)
		s.awaitReady(t)
		newClient(t, s, 0) // the kubeconfig is there, and good
		s.kill()
		d := readDisk(t, s.dir)
		for _, f := range d.disagreements() {
			t.Errorf("kill %d: %s", kill, f)
		}
		if len(d.services) != 2 || len(d.addresses) != 3 {
			t.Errorf("kill %d: %d Services and %d IPAddresses in a new cluster, want 2 and 3", kill, len(d.services), len(d.addresses))
		}
	}
}
