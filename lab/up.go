package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// Lab does the work of up, down and status.
type Lab struct {
	// Program and its first arguments, to which `server` and flags are added: duet itself.
	Program []string
	// Kubeconfigs adds a cluster's context to the user's file and removes it again.
	Kubeconfigs Kubeconfigs
	// Cluster is asked about nodes, once its API serves.
	Cluster Cluster
	// Progress is told what is being done, in a few words.
	Progress func(step string)
}

// Kubeconfigs puts the context of a cluster into the user's kubeconfig, and takes it out again.
type Kubeconfigs interface {
	// Merge copies the context of a cluster from the kubeconfig admin into file and makes it the
	// current one. A missing file is created; everything else in an existing one stays.
	Merge(ctx context.Context, file, admin string) error
	// Remove takes the context of a cluster out of file. A missing file or context is no error.
	Remove(ctx context.Context, file, cluster string) error
}

// Result tells what Up has found or made.
type Result struct {
	Settings Settings
	DataDir  string
	// Already is true if the cluster ran as asked for; nothing has been touched then.
	Already bool
}

// Up makes the cluster that r asks for, or resumes it with its data, and returns when its API is
// ready. What r leaves open is as it was before, or as in fresh for a new cluster. A cluster that
// runs otherwise than asked for is restarted. If Up fails, nothing runs; the data stays.
func (l *Lab) Up(ctx context.Context, r Request, fresh Settings) (Result, error) {
	if err := needRoot("up"); err != nil {
		return Result{}, err
	}
	dir, err := locate(r.Name, r.DataDir)
	if err != nil {
		return Result{}, err
	}
	if _, _, err := settle(dir, r, fresh); err != nil { // before anything is touched
		return Result{}, err
	}
	if err := claim(dir); err != nil {
		return Result{}, err
	}
	lock, err := LockData(dir)
	var held *HeldError
	running := errors.As(err, &held) && runs(held.PID, dir)
	if err != nil && !running {
		return Result{}, err
	}
	if lock != nil {
		defer lock.Close()
	}
	old, s, err := settle(dir, r, fresh)
	if err != nil {
		return Result{}, err
	}
	if running && same(old, s) {
		s.Port = old.Port
		changed, err := l.completeNodes(ctx, dir, old, s)
		if err != nil {
			return Result{}, err
		}
		return Result{Settings: s, DataDir: dir, Already: !changed}, l.adopt(ctx, dir, old, s)
	}
	if running {
		l.Progress("stopping the control plane to start it with other settings")
		if lock, err = takeOver(held.PID, dir); err != nil {
			return Result{}, err
		}
		defer lock.Close()
	}
	if err := l.bringUp(ctx, dir, &s, lock); err != nil {
		return Result{}, err
	}
	return Result{Settings: s, DataDir: dir}, l.adopt(ctx, dir, old, s)
}

// settle returns what the cluster was, or is to be if it is new, and what the request makes of it.
func settle(dir string, r Request, fresh Settings) (old, wanted Settings, err error) {
	old, err = load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = fresh, nil
	}
	if err == nil {
		wanted, err = merge(old, r)
	}
	return old, wanted, err
}

// bringUp is the list of what makes a cluster run. Nodes that run as wanted are left alone. It
// undoes what it did if a step fails.
func (l *Lab) bringUp(ctx context.Context, dir string, s *Settings, lock *Lock) (err error) {
	l.Progress("checking this machine")
	if err := preflight(*s); err != nil {
		return err
	}
	listener, err := listenOnHost(s.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	s.Port = portOf(listener)
	if err := save(dir, *s); err != nil {
		return err
	}
	crew, err := l.muster(dir, *s)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, crew.undo(), clearAway(s.Name))
		}
	}()
	if err := l.prepareNetwork(*s, crew); err != nil {
		return err
	}
	if err := crew.stopSurplus(); err != nil {
		return err
	}
	l.Progress(crew.plan("starting the control plane"))
	group, both := errgroup.WithContext(ctx)
	crew.start(both, group)
	group.Go(func() error { return l.start(both, dir, *s, listener, lock) })
	if err := group.Wait(); err != nil {
		return err
	}
	return crew.join(ctx)
}

// prepareNetwork keeps the network for nodes that live on in it, or makes it anew.
func (l *Lab) prepareNetwork(s Settings, crew *crew) error {
	if len(crew.missing) < s.Nodes && networkStands(s) {
		return killOccupants(s.Name, memberControl)
	}
	if err := clearAway(s.Name); err != nil { // what a killed server has left
		return err
	}
	crew.missing = nodeNames(s)
	l.Progress("building the network")
	if err := buildNetwork(s); err != nil {
		return fmt.Errorf("build the network of cluster %q: %w", s.Name, err)
	}
	return nil
}

// completeNodes makes the nodes of a cluster whose control plane runs those that s asks for, and
// tells whether there was anything to do.
func (l *Lab) completeNodes(ctx context.Context, dir string, old, s Settings) (changed bool, err error) {
	crew, err := l.muster(dir, s)
	if err != nil {
		return false, err
	}
	if old.Nodes != s.Nodes {
		if err := save(dir, s); err != nil {
			return false, err
		}
	}
	if !crew.idle() {
		l.Progress("checking this machine")
		if err := preflight(s); err != nil {
			return false, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, crew.undo())
			}
		}()
		if err := crew.stopSurplus(); err != nil {
			return false, err
		}
		l.Progress(crew.plan("completing the cluster"))
		group, all := errgroup.WithContext(ctx)
		crew.start(all, group)
		if err := group.Wait(); err != nil {
			return false, err
		}
	}
	return !crew.idle(), crew.join(ctx)
}

// adopt puts the cluster's context into the user's kubeconfig, and out of the one it was in before.
func (l *Lab) adopt(ctx context.Context, dir string, old, s Settings) error {
	if old.Kubeconfig != s.Kubeconfig {
		if err := save(dir, s); err != nil {
			return err
		}
		if err := l.Kubeconfigs.Remove(ctx, old.Kubeconfig, s.Name); err != nil {
			return fmt.Errorf("remove the context of cluster %q from %s: %w", s.Name, old.Kubeconfig, err)
		}
	}
	if err := l.Kubeconfigs.Merge(ctx, s.Kubeconfig, AdminKubeconfig(dir)); err != nil {
		return fmt.Errorf("add the context of cluster %q to %s: %w; the cluster runs: use --kubeconfig %s", s.Name, s.Kubeconfig, err, AdminKubeconfig(dir))
	}
	return nil
}

// clearAway ends and removes whatever there is of a cluster but its data.
func clearAway(cluster string) error {
	if err := killOccupants(cluster); err != nil {
		return err
	}
	if err := removeClusterCgroups(cluster); err != nil {
		return err
	}
	return removeNetwork(cluster)
}
