// Package etcd runs one etcd member inside this process, or connects to an etcd cluster that
// exists already, and adds to the client the one thing Kubernetes' storage interface lacks:
// a write of several keys in one transaction ([Together]).
//
// It knows nothing of Kubernetes objects: keys and values are bytes. Only package assemble and
// package apiserver may import it.
//
// # Guarantees
//
// A write that returned without error is on disk (etcd's WAL is synced before the answer); a
// write that returned an error may or may not be there, as with any etcd client.
package etcd

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// quotaBytes bounds the database; etcd refuses writes beyond it with a clear "no space" error.
const quotaBytes = 8 << 30

// Member is one etcd server in this process. It opens no port.
type Member struct {
	dir     string
	etcd    *embed.Etcd
	failure *failure
}

// Start runs a single-member etcd on dir and returns once it serves reads and writes.
//
// A raft member waits for some ticks before it stands for election, which makes no sense when there
// is no other member to wait for: Start forces the first election at once, so that a new directory
// is ready in about 0.1 s while ticks are slow and cheap.
//
// Errors: dir in use by another process, damaged files, no space; they name dir.
func Start(ctx context.Context, dir string) (*Member, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("etcd: create %s: %w", dir, err)
	}
	if err := checkFiles(dir); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	m := &Member{dir: dir, failure: newFailure()}
	if err := m.start(); err != nil {
		if damage := damagedLog(dir); damage != nil {
			return nil, fmt.Errorf("etcd: %w; %s", damage, restore(dir))
		}
		return nil, explain(dir, err)
	}
	if err := m.elect(ctx); err != nil {
		m.Close()
		return nil, explain(dir, err)
	}
	return m, nil
}

// start starts the server, in a goroutine of its own because a failure keeps that for good.
func (m *Member) start() error {
	started := make(chan error, 1)
	var server *embed.Etcd
	go func() {
		var err error
		server, err = startRecovering(config(m.dir, m.failure))
		started <- err
	}()
	select {
	case err := <-started:
		m.etcd = server
		return err
	case <-m.failure.happened:
		return m.failure.err
	}
}

func config(dir string, f *failure) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "duet"
	cfg.Dir = dir
	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.ListenClientHttpUrls = nil, nil, nil
	// Addresses that nobody dials: a member must have a name for itself.
	self := url.URL{Scheme: "http", Host: "localhost:2380"}
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = []url.URL{self}, []url.URL{self}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(f))
	cfg.QuotaBackendBytes = quotaBytes
	// An only member sends no heartbeats and misses none, but each tick wakes an idle server. An election
	// takes five ticks at least, and a request is given up after 5 s and two elections.
	cfg.TickMs, cfg.ElectionMs = 500, 2500
	// The API server compacts (see apiserver); a snapshot every 10,000 writes bounds memory and
	// the replay after a restart.
	cfg.SnapshotCount = 10_000
	cfg.MaxWalFiles = 2 // those before the last snapshot are read at each start too, for nothing
	return cfg
}

// logger writes etcd's warnings to standard error; f takes its fatal ends.
func logger(f *failure) *zap.Logger {
	cfg := logutil.DefaultZapLoggerConfig
	cfg.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	cfg.Sampling = nil // warnings are few; its counters take a megabyte
	once := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return unrepeated{c, new(atomic.Bool)} })
	log, err := cfg.Build(zap.WithFatalHook(f), zap.WithPanicHook(f), once)
	if err != nil {
		return zap.NewNop() // unreachable: the configuration is etcd's own default
	}
	return log
}

// unrepeated writes the message once that etcd repeats without a pause as it starts, up to a thousand
// times: while it goes through the end of a long log it refuses requests, its own first one too.
type unrepeated struct {
	zapcore.Core
	written *atomic.Bool
}

// With is as of zapcore.Core.
func (u unrepeated) With(fields []zapcore.Field) zapcore.Core {
	return unrepeated{u.Core.With(fields), u.written}
}

// Check adds the core to those that write the entry, or does not.
func (u unrepeated) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Message == "failed to publish local member to cluster through raft" && u.written.Swap(true) {
		return checked
	}
	return u.Core.Check(entry, checked)
}

// startRecovering turns etcd's panics over damaged files into errors: a server that dies with a
// stack trace does not tell its user which file to restore.
func startRecovering(cfg *embed.Config) (server *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its files are damaged (%v); %s", p, restore(cfg.Dir))
		}
	}()
	return embed.StartEtcd(cfg)
}

// elect makes the only member leader now, with the message by which a leader hands over its office.
//
// It must not arrive while raft still thinks that it has entries to apply: it would look through
// them for changes of membership, and etcd may have dropped them from memory already ("error
// scanning unapplied entries", a panic). EtcdServer's own indexes run ahead of raft's, so raft is
// asked itself; there is no event for it, but the wait is a few scheduler rounds.
func (m *Member) elect(ctx context.Context) error {
	server := m.etcd.Server
	id := uint64(server.MemberID())
	for {
		status, ok := raftStatus()
		if !ok || status.ID != id {
			break // another member in this process hides ours: let the election take its time
		}
		if status.Applied >= status.GetCommit() {
			message := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &id, From: &id}
			if err := server.Process(ctx, message); err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
	}
	select {
	case <-server.ReadyNotify():
		return nil
	case err := <-m.etcd.Err():
		return err
	case <-m.failure.happened:
		return m.failure.err
	case <-server.StopNotify():
		return errors.New("etcd stopped while starting")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// raftStatus is the status etcd publishes of the raft node that was started last in this process.
func raftStatus() (raft.Status, bool) {
	f, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return raft.Status{}, false
	}
	status, ok := f.Value().(raft.Status)
	return status, ok
}

// Client returns a client that calls the member directly, without sockets or encoding.
func (m *Member) Client() *kubernetes.Client {
	return newClient(v3client.New(m.etcd.Server))
}

// Stopped is closed when the member stops, for whatever reason.
func (m *Member) Stopped() <-chan struct{} { return m.etcd.Server.StopNotify() }

// Size returns the bytes of the database on disk.
func (m *Member) Size() int64 { return m.etcd.Server.Backend().Size() }

// Failed is closed when the member cannot go on, for example because the disk is full. It answers
// no request from then on: end the process, and say [Member.Failure].
func (m *Member) Failed() <-chan struct{} { return m.failure.happened }

// Failure says why, once Failed is closed, and what to do.
func (m *Member) Failure() error { return explain(m.dir, m.failure.err) }

// Close stops the member and returns when its files are closed. One that fails, before or while it
// stops, keeps them.
func (m *Member) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		m.etcd.Close()
	}()
	select {
	case <-closed:
	case <-m.failure.happened:
	}
}

// DialConfig names an etcd cluster that exists already.
type DialConfig struct {
	Endpoints                 []string // for example https://10.0.0.1:2379
	CAFile, CertFile, KeyFile string   // PEM; empty for plain HTTP
}

// Dial connects to an existing etcd cluster and returns when one member has answered.
func Dial(ctx context.Context, cfg DialConfig) (*kubernetes.Client, error) {
	conf := clientv3.Config{Endpoints: cfg.Endpoints, DialTimeout: 5 * time.Second, DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	conf.TLS = tlsConfig
	client, err := clientv3.New(conf)
	if err != nil {
		return nil, fmt.Errorf("etcd: connect to %v: %w", cfg.Endpoints, err)
	}
	ctx, cancel := context.WithTimeout(ctx, conf.DialTimeout)
	defer cancel()
	if _, err := client.Get(ctx, "/duet/hello"); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("etcd: connect to %v: %w; check --etcd-servers and the certificates", cfg.Endpoints, err)
	}
	return newClient(client), nil
}

func newClient(c *clientv3.Client) *kubernetes.Client {
	return &kubernetes.Client{Client: c, Kubernetes: together{&kubernetes.Client{Client: c}, c}}
}
