package streams

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

// exec serves /exec/NAMESPACE/POD[/UID]/CONTAINER?command=…&input=1&output=1&error=1&tty=1.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	_, _, id, ok := s.container(w, r)
	if !ok {
		return
	}
	in, out, errs, tty, ok := wantedStreams(w, r.URL.Query())
	if !ok {
		return
	}
	answer, err := s.config.Runtime.Exec(r.Context(), &cri.ExecRequest{
		ContainerId: id, Cmd: r.URL.Query()["command"], Tty: tty, Stdin: in, Stdout: out, Stderr: errs,
	})
	s.handOver(w, r, answer.GetUrl(), err)
}

// attach serves /attach/NAMESPACE/POD[/UID]/CONTAINER. Whether there is a terminal is the container's
// matter, not the caller's.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	pod, name, id, ok := s.container(w, r)
	if !ok {
		return
	}
	query := r.URL.Query()
	query.Set("tty", strconv.FormatBool(hasTerminal(pod, name)))
	in, out, errs, tty, ok := wantedStreams(w, query)
	if !ok {
		return
	}
	answer, err := s.config.Runtime.Attach(r.Context(), &cri.AttachRequest{ContainerId: id, Tty: tty, Stdin: in, Stdout: out, Stderr: errs})
	s.handOver(w, r, answer.GetUrl(), err)
}

// handOver copies the upgraded connection to the address that the runtime has named.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request, address string, err error) {
	if err != nil {
		code := http.StatusInternalServerError
		if status.Code(err) == codes.NotFound {
			code = http.StatusNotFound
		}
		http.Error(w, err.Error(), code)
		return
	}
	location, err := url.Parse(address)
	if err != nil || location.Host == "" {
		http.Error(w, fmt.Sprintf("the container runtime answered with the address %q", address), http.StatusInternalServerError)
		return
	}
	proxy.NewUpgradeAwareHandler(location, nil, false, true, responder{}).ServeHTTP(w, r)
}

// responder answers when the runtime's streaming server does not.
type responder struct{}

func (responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	klog.FromContext(r.Context()).Error(err, "Stream to the container runtime failed", "path", r.URL.Path)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// pod finds the Pod of a request, or answers it.
func (s *Server) pod(w http.ResponseWriter, r *http.Request) (*corev1.Pod, bool) {
	pod, ok := s.config.Pods.Pod(r.PathValue("namespace"), r.PathValue("pod"))
	if uid := r.PathValue("uid"); !ok || uid != "" && string(pod.UID) != uid {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return nil, false
	}
	return pod, true
}

// container finds the container of a request, or answers it.
func (s *Server) container(w http.ResponseWriter, r *http.Request) (pod *corev1.Pod, name, id string, ok bool) {
	if pod, ok = s.pod(w, r); !ok {
		return nil, "", "", false
	}
	name = r.PathValue("container")
	if id, _, ok = s.config.Pods.Container(pod.UID, name); !ok {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusNotFound)
		return nil, "", "", false
	}
	return pod, name, id, true
}

// wantedStreams reads which streams are to be connected: input, output, error as the API server asks
// the node, or stdin, stdout, stderr as kubectl asks the API server. A terminal has one stream for
// output and errors.
func wantedStreams(w http.ResponseWriter, q url.Values) (in, out, errs, tty, ok bool) {
	flag := func(keys ...string) bool {
		for _, k := range keys {
			if v, _ := strconv.ParseBool(q.Get(k)); v {
				return true
			}
		}
		return false
	}
	in, out, errs, tty = flag("input", "stdin"), flag("output", "stdout"), flag("error", "stderr"), flag("tty")
	if tty {
		errs = false
	}
	if !in && !out && !errs {
		http.Error(w, "you must specify at least 1 of stdin, stdout, stderr", http.StatusBadRequest)
		return false, false, false, false, false
	}
	return in, out, errs, tty, true
}

func hasTerminal(pod *corev1.Pod, name string) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if c.Name == name {
				return c.TTY
			}
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return c.TTY
		}
	}
	return false
}

// pods serves the Pods of this node as a list.
func (s *Server) pods(w http.ResponseWriter, r *http.Request) {
	list := corev1.PodList{Items: []corev1.Pod{}}
	list.APIVersion, list.Kind = "v1", "PodList"
	for _, p := range s.config.Pods.Pods() {
		list.Items = append(list.Items, *p)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&list); err != nil && r.Context().Err() == nil {
		klog.FromContext(r.Context()).Error(err, "List of Pods not served")
	}
}
