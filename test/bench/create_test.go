package bench_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/duetk8s/duet/etcd"
)

// serial keeps the names of all objects of a run apart.
var serial atomic.Int64

func newService(stack string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%07d", serial.Add(1)), Namespace: "default", Labels: map[string]string{"app": "bench"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "bench"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	if stack == "dual" {
		policy := corev1.IPFamilyPolicyRequireDualStack
		svc.Spec.IPFamilyPolicy = &policy
	}
	return svc
}

// newConfigMap is about as large as a Service on its way in.
func newConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%07d", serial.Add(1)), Namespace: "default", Labels: map[string]string{"app": "bench"}},
		Data:       map[string]string{"port": "80", "target": "8080", "selector": "app=bench"},
	}
}

// operation is what a user does once.
type operation func(ctx context.Context, user int) error

// sample is how long each of many operations took, and all of them together.
type sample struct {
	each  []time.Duration
	total time.Duration
	cpu   time.Duration // of the server
}

// do has users do n operations.
func (s *sample) do(b *testing.B, users, n int, cpu func() time.Duration, op operation) {
	b.Helper()
	each := make([]time.Duration, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	used, start := cpu(), time.Now()
	for user := range users {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				before := time.Now()
				if err := op(context.Background(), user); err != nil {
					failed.Store(&err)
					return
				}
				each[i] = time.Since(before)
			}
		})
	}
	group.Wait()
	s.total += time.Since(start)
	s.cpu += cpu() - used
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	s.each = append(s.each, each...)
}

// quantile returns the time within which that part of the operations was done, in microseconds.
func (s *sample) quantile(part float64) float64 {
	slices.Sort(s.each)
	return float64(s.each[min(int(part*float64(len(s.each))), len(s.each)-1)]) / float64(time.Microsecond)
}

func (s *sample) rate() float64 { return float64(len(s.each)) / s.total.Seconds() }

// cpuEach is the server's processor time for each operation, in microseconds.
func (s *sample) cpuEach() float64 {
	return float64(s.cpu) / float64(len(s.each)) / float64(time.Microsecond)
}

// site is a server with as many Services as a benchmark wants to find there.
type site struct {
	*server
	stack string
	users []*clientset.Clientset
	made  []string // names of Services beyond those
	mu    sync.Mutex
}

func newSite(b *testing.B, stack string, existing, users int) *site {
	b.Helper()
	s := &site{server: serve(b, stack), stack: stack}
	s.users = s.clients(b, max(users, 16))
	s.fill(b, existing)
	return s
}

// fill creates Services that stay.
func (s *site) fill(b *testing.B, n int) {
	b.Helper()
	new(sample).do(b, 16, n, s.noCPU, s.createService)
	s.made = nil
}

func (s *site) createService(ctx context.Context, user int) error {
	svc := newService(s.stack)
	_, err := s.users[user].CoreV1().Services("default").Create(ctx, svc, metav1.CreateOptions{})
	s.mu.Lock()
	s.made = append(s.made, svc.Name)
	s.mu.Unlock()
	return err
}

func (s *site) createConfigMap(ctx context.Context, user int) error {
	_, err := s.users[user].CoreV1().ConfigMaps("default").Create(ctx, newConfigMap(), metav1.CreateOptions{})
	return err
}

// settle waits until the controllers have written what the Services made so far want, so that it is not
// done in the turn of somebody else: they take one after the other, and a last one is made for that.
func (s *site) settle(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	if err := s.createService(ctx, 0); err != nil {
		b.Fatal(err)
	}
	name := s.made[len(s.made)-1]
	for { // they come after the EndpointSlices
		_, err := s.users[0].CoreV1().Endpoints("default").Get(ctx, name, metav1.GetOptions{}) // all that is written
		if err == nil {
			return
		}
		if !apierrors.IsNotFound(err) {
			b.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clear deletes what was created since fill.
func (s *site) clear(b *testing.B) {
	b.Helper()
	names := s.made
	var next atomic.Int64
	new(sample).do(b, 16, len(names), s.noCPU, func(ctx context.Context, user int) error {
		return s.users[user].CoreV1().Services("default").Delete(ctx, names[next.Add(1)-1], metav1.DeleteOptions{})
	})
	s.made = nil
}

func (s *site) noCPU() time.Duration { return 0 }

// stored is how many bytes etcd is given to create a Service.
func (s *site) stored(b *testing.B) int {
	b.Helper()
	ctx := context.Background()
	svc, err := s.users[0].CoreV1().Services("default").Create(ctx, newService(s.stack), metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	s.made = append(s.made, svc.Name)
	size := svc.Size()
	for _, ip := range svc.Spec.ClusterIPs {
		address, err := s.users[0].NetworkingV1().IPAddresses().Get(ctx, ip, metav1.GetOptions{})
		if err != nil {
			b.Fatal(err)
		}
		size += address.Size()
	}
	return size
}

// bareEtcd puts values of a size into an etcd in this process: what no server can go below.
func bareEtcd(b *testing.B, size int) operation {
	b.Helper()
	member, err := etcd.Start(context.Background(), filepath.Join(b.TempDir(), "etcd"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(member.Close)
	client, value := member.Client(), []byte(strings.Repeat("x", size))
	return func(ctx context.Context, _ int) error {
		_, err := client.Kubernetes.OptimisticPut(ctx, fmt.Sprintf("/registry/services/specs/default/bench-%07d", serial.Add(1)), value, 0, kubernetes.PutOptions{})
		return err
	}
}

// turn is how many operations one side does before the other has its turn.
func turn(users int) int { return 10 * users }

// BenchmarkCreate creates Services over TLS, in turns with ConfigMaps and with puts into a bare etcd.
// One operation is one Service. cpu is the server's until the last call has returned, all-cpu until the
// controllers have written EndpointSlices and Endpoints too.
func BenchmarkCreate(b *testing.B) {
	for _, stack := range []string{"single", "dual"} {
		for _, existing := range []int{0, 10_000} {
			b.Run(fmt.Sprintf("stack=%s/existing=%d", stack, existing), func(b *testing.B) {
				s := newSite(b, stack, existing, 64)
				put := bareEtcd(b, s.stored(b))
				s.clear(b)
				for _, users := range []int{1, 16, 64} {
					b.Run(fmt.Sprintf("clients=%d", users), func(b *testing.B) {
						benchmarkCreate(b, s, put, users)
						s.clear(b)
					})
				}
			})
		}
	}
}

func benchmarkCreate(b *testing.B, s *site, put operation, users int) {
	b.Helper()
	var service, configMap, bare sample
	var later time.Duration // the server's processor time after the calls
	turns := 0
	cpu := func() time.Duration { return s.cpu(b) }
	profile := strings.ReplaceAll(b.Name(), "/", ",")
	wait := s.profile(b, "profile", profile+"-cpu.pprof", 2)
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, turn(users))
		left -= n
		service.do(b, users, n, cpu, s.createService)
		b.StopTimer()
		before := cpu()
		s.settle(b)
		later += cpu() - before
		turns++
		configMap.do(b, users, n, cpu, s.createConfigMap)
		bare.do(b, users, n, s.noCPU, put)
		b.StartTimer()
	}
	b.StopTimer()
	wait()
	s.profile(b, "heap", profile+"-heap.pprof", 0)()
	b.ReportMetric(service.quantile(0.5), "p50-µs")
	b.ReportMetric(service.quantile(0.99), "p99-µs")
	b.ReportMetric(service.rate(), "creates/s")
	b.ReportMetric(service.cpuEach(), "cpu-µs/op")
	b.ReportMetric(float64(service.cpu+later)/float64(b.N+turns)/float64(time.Microsecond), "all-cpu-µs/op")
	b.ReportMetric(configMap.quantile(0.5), "configmap-p50-µs")
	b.ReportMetric(configMap.rate(), "configmaps/s")
	b.ReportMetric(configMap.cpuEach(), "configmap-cpu-µs/op")
	b.ReportMetric(bare.quantile(0.5), "put-p50-µs")
	b.ReportMetric(s.memory(b, "VmRSS")/1e6, "rss-MB")
	b.ReportMetric(service.quantile(0.5)/configMap.quantile(0.5), "p50/configmap")
	if configMap.cpu > 0 {
		b.ReportMetric(service.cpuEach()/configMap.cpuEach(), "cpu/configmap")
	}
}

// BenchmarkFlat creates Services in turns on two servers, one with 100 and one with 10,000, and
// reports how many times longer it takes on the second.
func BenchmarkFlat(b *testing.B) {
	for _, stack := range []string{"single", "dual"} {
		b.Run("stack="+stack, func(b *testing.B) {
			few, many := newSite(b, stack, 100, 16), newSite(b, stack, 10_000, 16)
			for _, users := range []int{1, 16} {
				b.Run(fmt.Sprintf("clients=%d", users), func(b *testing.B) {
					var at100, at10000 sample
					b.ResetTimer()
					for left := b.N; left > 0; {
						n := min(left, turn(users))
						left -= n
						at100.do(b, users, n, func() time.Duration { return few.cpu(b) }, few.createService)
						at10000.do(b, users, n, func() time.Duration { return many.cpu(b) }, many.createService)
					}
					b.StopTimer()
					b.ReportMetric(at100.quantile(0.5), "p50-at-100-µs")
					b.ReportMetric(at10000.quantile(0.5), "p50-at-10000-µs")
					b.ReportMetric(at10000.quantile(0.5)/at100.quantile(0.5), "p50-10000/100")
					if at100.cpu > 0 {
						b.ReportMetric(at10000.cpuEach()/at100.cpuEach(), "cpu-10000/100")
					}
					few.clear(b)
					many.clear(b)
				})
			}
		})
	}
}
