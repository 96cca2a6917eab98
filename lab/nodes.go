package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Cluster is what the lab asks of the API of a cluster that runs. Every method takes the
// administrator's kubeconfig.
type Cluster interface {
	// Invite makes a token that nodes may join with for a while, in place of the one before.
	Invite(ctx context.Context, kubeconfig string) (token string, err error)
	// Await returns when every one of the nodes is Ready and has given a sign of life since the
	// time with its name, and calls ready for each as it comes. If ctx ends first, the error says
	// which are missing and why.
	Await(ctx context.Context, kubeconfig string, nodes map[string]time.Time, ready func(node string)) error
	// Forget deletes nodes, which have been stopped. One that is unknown is no error.
	Forget(ctx context.Context, kubeconfig string, nodes []string) error
	// List returns what the API knows of all nodes, by name.
	List(ctx context.Context, kubeconfig string) (map[string]NodeInfo, error)
}

// NodeInfo is what the API knows of a node.
type NodeInfo struct {
	// Health is "Ready", or why not.
	Health   string         `json:"health,omitempty"`
	Version  string         `json:"version,omitempty"` // of the agent
	Runtime  string         `json:"runtime,omitempty"` // "containerd://1.6.20"
	PodCIDRs []netip.Prefix `json:"podCIDRs,omitempty"`
}

// crew is what one call of Up does to the nodes of a cluster.
type crew struct {
	lab     *Lab
	dir     string
	s       Settings
	began   time.Time
	missing []string // to be started
	surplus []string // to be removed; what is left of them is data

	mu   sync.Mutex
	born []*newborn // started
}

// muster compares what runs with what is wanted.
func (l *Lab) muster(dir string, s Settings) (*crew, error) {
	c := &crew{lab: l, dir: dir, s: s, began: time.Now()}
	wanted := nodeNames(s)
	for _, node := range wanted {
		ok, err := l.boxedAsWanted(dir, s, node)
		if err != nil {
			return nil, fmt.Errorf("see whether %s runs: %w", node, err)
		}
		if !ok {
			c.missing = append(c.missing, node)
		}
	}
	stored, err := storedNodes(dir)
	for _, node := range stored {
		if !slices.Contains(wanted, node) {
			c.surplus = append(c.surplus, node)
		}
	}
	return c, err
}

// idle tells whether there is nothing to do.
func (c *crew) idle() bool { return len(c.missing) == 0 && len(c.surplus) == 0 }

// plan words what is about to be started, after the words for the rest.
func (c *crew) plan(rest string) string {
	switch n := len(c.missing); n {
	case 0:
		return rest
	case 1:
		return rest + ", and " + c.missing[0]
	default:
		return fmt.Sprintf("%s, and %d nodes", rest, n)
	}
}

// stopSurplus ends the nodes that are not wanted any more.
func (c *crew) stopSurplus() error {
	for _, node := range c.surplus {
		c.lab.Progress("removing " + node)
		if err := removeNode(c.s.Name, node); err != nil {
			return err
		}
	}
	return nil
}

// start adds the start of each missing node's box to the group.
func (c *crew) start(ctx context.Context, group *errgroup.Group) {
	for _, node := range c.missing {
		group.Go(func() error {
			b, err := c.lab.startBox(ctx, c.dir, c.s, node)
			if err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.born = append(c.born, b)
			return nil
		})
	}
}

// join lets the started nodes join the cluster, whose API serves, and waits until all are Ready.
func (c *crew) join(ctx context.Context) error {
	kubeconfig := AdminKubeconfig(c.dir)
	if len(c.surplus) > 0 {
		if err := c.lab.Cluster.Forget(ctx, kubeconfig, c.surplus); err != nil {
			return fmt.Errorf("remove nodes from cluster %q: %w", c.s.Name, err)
		}
		for _, node := range c.surplus {
			if err := removeData(nodeRoot(c.dir, node)); err != nil {
				return err
			}
		}
	}
	if c.s.Nodes == 0 {
		return nil
	}
	if len(c.born) > 0 {
		token, err := c.lab.Cluster.Invite(ctx, kubeconfig)
		if err != nil {
			return fmt.Errorf("make a token for the nodes of cluster %q: %w", c.s.Name, err)
		}
		for _, b := range c.born {
			if err := b.admit(c.dir, token); err != nil {
				return err
			}
		}
	}
	if err := c.await(ctx, kubeconfig); err != nil {
		return err
	}
	for _, b := range c.born {
		b.release()
	}
	return nil
}

// await waits for the nodes' readiness, or for the first thing that goes wrong in a box.
func (c *crew) await(ctx context.Context, kubeconfig string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not after %s", readyTimeout))
	defer cancel()
	since := map[string]time.Time{}
	for _, node := range nodeNames(c.s) {
		since[node] = time.Time{}
		if slices.Contains(c.missing, node) {
			since[node] = c.began
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	watching, enough := context.WithCancel(ctx)
	defer enough()
	for _, b := range c.born {
		group.Go(func() error { return b.fails(watching) })
	}
	group.Go(func() error {
		defer enough()
		err := c.lab.Cluster.Await(ctx, kubeconfig, since, func(node string) { c.lab.Progress(node + " is ready") })
		if err != nil {
			return fmt.Errorf("wait for the nodes of cluster %q: %w; see %s", c.s.Name, err, nodeRoot(c.dir, "workerN/logs"))
		}
		return nil
	})
	return group.Wait()
}

// undo ends what has been started.
func (c *crew) undo() error {
	var errs []error
	for _, b := range c.born {
		errs = append(errs, b.kill())
	}
	for _, node := range c.missing {
		errs = append(errs, removeNode(c.s.Name, node))
	}
	return errors.Join(errs...)
}

// removeData removes a folder of a cluster's data, and never what is mounted in it.
func removeData(dir string) error {
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the data: %w", err)
	}
	return nil
}
