package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// longRunning checks what only a container that stays can have: hooks and probes.
func longRunning(s *corev1.PodSpec, c *corev1.Container, path *field.Path) (errs field.ErrorList) {
	if l := c.Lifecycle; l != nil {
		at := path.Child("lifecycle")
		if h := l.PostStart; h != nil {
			errs = append(errs, handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}.check(s, at.Child("postStart"))...)
		}
		if h := l.PreStop; h != nil {
			errs = append(errs, handler{h.Exec, h.HTTPGet, h.TCPSocket, nil, h.Sleep}.check(s, at.Child("preStop"))...)
		}
		errs = append(errs, stopSignal(s, l.StopSignal, at.Child("stopSignal"))...)
	}
	for _, p := range []struct {
		probe *corev1.Probe
		path  string
		kills bool
	}{
		{c.LivenessProbe, "livenessProbe", true}, {c.ReadinessProbe, "readinessProbe", false}, {c.StartupProbe, "startupProbe", true},
	} {
		if p.probe == nil {
			continue
		}
		at := path.Child(p.path)
		errs = append(errs, probe(s, p.probe, at)...)
		if p.kills && p.probe.SuccessThreshold != 1 {
			errs = append(errs, field.Invalid(at.Child("successThreshold"), p.probe.SuccessThreshold, "must be 1"))
		}
		if g := p.probe.TerminationGracePeriodSeconds; !p.kills && g != nil {
			errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *g, "must not be set for readinessProbes"))
		}
	}
	return errs
}

// stopSignal can be one that the Pod's operating system has.
func stopSignal(s *corev1.PodSpec, signal *corev1.Signal, path *field.Path) field.ErrorList {
	switch {
	case signal == nil:
		return nil
	case s.OS == nil:
		return field.ErrorList{field.Forbidden(path, "may not be set for containers when `spec.os.name` is empty")}
	case s.OS.Name == corev1.Windows:
		return oneOf(*signal, path, corev1.SIGKILL, corev1.SIGTERM)
	}
	known := []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
		corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
		corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
		corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM,
		corev1.SIGWINCH, corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMAX,
	}
	for n := 1; n <= 15; n++ {
		known = append(known, corev1.Signal(fmt.Sprintf("SIGRTMIN+%d", n)))
		if n < 15 {
			known = append(known, corev1.Signal(fmt.Sprintf("SIGRTMAX-%d", n)))
		}
	}
	return oneOf(*signal, path, known...)
}

func probe(s *corev1.PodSpec, p *corev1.Probe, path *field.Path) field.ErrorList {
	errs := handler{p.Exec, p.HTTPGet, p.TCPSocket, p.GRPC, nil}.check(s, path)
	for _, n := range []struct {
		value int32
		path  string
	}{
		{p.InitialDelaySeconds, "initialDelaySeconds"},
		{p.TimeoutSeconds, "timeoutSeconds"},
		{p.PeriodSeconds, "periodSeconds"},
		{p.SuccessThreshold, "successThreshold"},
		{p.FailureThreshold, "failureThreshold"},
	} {
		errs = append(errs, nonNegative(int64(n.value), path.Child(n.path))...)
	}
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

// handler is what a probe or a hook does: exactly one of these.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func (h handler) check(s *corev1.PodSpec, path *field.Path) (errs field.ErrorList) {
	n := 0
	one := func(set bool, name string, check func(*field.Path) field.ErrorList) {
		switch {
		case !set:
		case n > 0:
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
		default:
			n++
			errs = append(errs, check(path.Child(name))...)
		}
	}
	one(h.exec != nil, "exec", func(at *field.Path) field.ErrorList {
		if len(h.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	one(h.http != nil, "httpGet", func(at *field.Path) field.ErrorList { return httpGet(h.http, at) })
	one(h.tcp != nil, "tcpSocket", func(at *field.Path) field.ErrorList { return port(h.tcp.Port, at.Child("port")) })
	one(h.grpc != nil, "grpc", func(at *field.Path) field.ErrorList { return port(intstr.FromInt32(h.grpc.Port), at.Child("port")) })
	one(h.sleep != nil, "sleep", func(at *field.Path) field.ErrorList {
		if g := s.TerminationGracePeriodSeconds; g != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *g) {
			return field.ErrorList{field.Invalid(at, h.sleep.Seconds,
				fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *g))}
		}
		return nil
	})
	if n == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func httpGet(g *corev1.HTTPGetAction, path *field.Path) (errs field.ErrorList) {
	if g.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, port(g.Port, path.Child("port"))...)
	errs = append(errs, oneOf(g.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range g.HTTPHeaders {
		errs = append(errs, faults(path.Child("httpHeaders"), header.Name, utilvalidation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}

// port is a number, or the name of one of the container's ports.
func port(p intstr.IntOrString, path *field.Path) field.ErrorList {
	if p.Type == intstr.String {
		return faults(path, p.StrVal, utilvalidation.IsValidPortName(p.StrVal))
	}
	return faults(path, p.IntValue(), utilvalidation.IsValidPortNum(p.IntValue()))
}
