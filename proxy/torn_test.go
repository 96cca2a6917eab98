package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/test/eventually"
)

// testTorn changes the endpoints of a Service as fast as it goes, while clients connect. The kernel may
// look up what a packet needs partly before and partly after a change: no connection may fail for that.
func testTorn(t *testing.T, c *cluster) {
	fronts := []string{"10.96.0.70:80", "[fd00:10:96::70]:80", "172.30.0.3:30070", "[fd00:172:30::3]:30070"}
	c.set(web("torn", "70", balanced(30070)), endpoints("torn", pod1))
	for _, to := range fronts {
		eventually.True(t, 30*time.Second, to+" is answered", func() bool {
			return call(t, "other", "tcp", to) != "timeout" && call(t, "other", "tcp", to) != "refused"
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for _, to := range fronts {
		clients.Go(func() {
			n, failed := 0, []string{}
			err := hostnet.Within(path("other"), func() error {
				for ; ctx.Err() == nil; n++ {
					conn, err := net.DialTimeout("tcp", to, 5*time.Second)
					if err != nil {
						failed = append(failed, err.Error())
						continue
					}
					_ = conn.(*net.TCPConn).SetLinger(0)
					conn.Close()
				}
				return nil
			})
			if err != nil || len(failed) > 0 {
				t.Errorf("%s: %d of %d failed: %v %s", to, len(failed), n, err, fmt.Sprint(failed[:min(3, len(failed))]))
			}
		})
	}
	lists := [][]string{{pod1, pod2}, {pod2}, {pod1, pod2}, {pod1}}
	changes := 0
	for ; ctx.Err() == nil; changes++ {
		before := c.table.writes.Load()
		for _, s := range endpoints("torn", lists[changes%len(lists)]...) {
			c.slices.Modify(s)
		}
		for end := time.Now().Add(100 * time.Millisecond); c.table.writes.Load() == before && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
	}
	clients.Wait()
	t.Log(changes, "changes")
}
