package container

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/node/internal/downward"
)

// Env returns a container's environment, each name once: the Services' variables first, then
// envFrom, then env, where the later wins but keeps the earlier one's place. $(NAME) in a value
// stands for what is defined before it.
func Env(in Input) ([]*runtimeapi.KeyValue, error) {
	var e environment
	services := serviceVariables(in.Pod, in.Services)
	for i := range in.Container.EnvFrom {
		if err := e.addFrom(in, &in.Container.EnvFrom[i]); err != nil {
			return nil, err
		}
	}
	for i := range in.Container.Env {
		v := &in.Container.Env[i]
		value, ok, err := e.value(in, v, services)
		if err != nil {
			return nil, err
		}
		if ok {
			e.set(v.Name, value)
		}
	}
	out := make([]*runtimeapi.KeyValue, 0, len(services)+len(e.names))
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, overridden := e.values[name]; !overridden {
			out = append(out, &runtimeapi.KeyValue{Key: name, Value: []byte(services[name])})
		}
	}
	for _, name := range e.names {
		out = append(out, &runtimeapi.KeyValue{Key: name, Value: []byte(e.values[name])})
	}
	return out, nil
}

// EnvMap returns what Env returned, by name, for expansion.
func EnvMap(env []*runtimeapi.KeyValue) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		m[kv.Key] = string(kv.Value)
	}
	return m
}

// environment grows in the order of the Pod's fields.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if e.values == nil {
		e.values = map[string]string{}
	}
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// addFrom adds all keys of a ConfigMap or Secret, in their order by name.
func (e *environment) addFrom(in Input, from *corev1.EnvFromSource) error {
	var data map[string]string
	switch {
	case from.ConfigMapRef != nil:
		cm, err := in.ConfigMap(from.ConfigMapRef.Name)
		if err != nil {
			return absent(err, "configmap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
		}
		data = cm.Data
	case from.SecretRef != nil:
		secret, err := in.Secret(from.SecretRef.Name)
		if err != nil {
			return absent(err, "secret", from.SecretRef.Name, from.SecretRef.Optional)
		}
		data = make(map[string]string, len(secret.Data))
		for k, v := range secret.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		e.set(from.Prefix+k, data[k])
	}
	return nil
}

// absent makes the error of a source that could not be had, or none if it is missing and optional.
func absent(err error, kind, name string, optional *bool) error {
	switch {
	case !apierrors.IsNotFound(err):
		return configError("%s", err)
	case optional != nil && *optional:
		return nil
	}
	return configError("%s %q not found", kind, name)
}

// value computes one entry of env. It reports false where an optional source is missing: then the
// variable is not set at all.
func (e *environment) value(in Input, v *corev1.EnvVar, services map[string]string) (value string, ok bool, err error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return expand(v.Value, e.values, services), true, nil
	case from.FieldRef != nil:
		value, err = downward.EnvField(in.Pod, in.PodIPs, in.HostIPs, from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		of := in.Container
		if name := from.ResourceFieldRef.ContainerName; name != "" {
			if of, err = downward.Container(in.Pod, name); err != nil {
				break
			}
		}
		value, err = downward.Resource(of, from.ResourceFieldRef, in.Node)
	case from.ConfigMapKeyRef != nil:
		return configMapKey(in, from.ConfigMapKeyRef)
	case from.SecretKeyRef != nil:
		return secretKey(in, from.SecretKeyRef)
	default:
		err = fmt.Errorf("environment variable %s has a source that this node does not know", v.Name)
	}
	if err != nil {
		return "", false, configError("%s", err)
	}
	return value, true, nil
}

func configMapKey(in Input, ref *corev1.ConfigMapKeySelector) (string, bool, error) {
	cm, err := in.ConfigMap(ref.Name)
	if err != nil {
		return "", false, absent(err, "configmap", ref.Name, ref.Optional)
	}
	if value, ok := cm.Data[ref.Key]; ok {
		return value, true, nil
	}
	return "", false, noKey("ConfigMap", ref.Key, in.Pod.Namespace, ref.Name, ref.Optional)
}

func secretKey(in Input, ref *corev1.SecretKeySelector) (string, bool, error) {
	secret, err := in.Secret(ref.Name)
	if err != nil {
		return "", false, absent(err, "secret", ref.Name, ref.Optional)
	}
	if value, ok := secret.Data[ref.Key]; ok {
		return string(value), true, nil
	}
	return "", false, noKey("Secret", ref.Key, in.Pod.Namespace, ref.Name, ref.Optional)
}

func noKey(kind, key, namespace, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return configError("couldn't find key %v in %s %v/%v", key, kind, namespace, name)
}

// serviceVariables returns what a container learns about Services (D3.8): those of its namespace
// unless the Pod turns that off, and default/kubernetes always, where the namespace has no Service
// of that name itself. Headless ones and those without a cluster address have none.
func serviceVariables(pod *corev1.Pod, services []*corev1.Service) map[string]string {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	chosen := map[string]*corev1.Service{}
	for _, svc := range services {
		master := svc.Namespace == metav1.NamespaceDefault && svc.Name == "kubernetes"
		own := svc.Namespace == pod.Namespace && links
		if svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone || !own && !master {
			continue
		}
		if _, there := chosen[svc.Name]; !there || own {
			chosen[svc.Name] = svc
		}
	}
	out := map[string]string{}
	for _, svc := range chosen {
		addServiceVariables(out, svc)
	}
	return out
}

// addServiceVariables adds WEB_SERVICE_HOST and its like, and the older WEB_PORT_80_TCP_ADDR and its
// like. They carry the primary address alone.
func addServiceVariables(out map[string]string, svc *corev1.Service) {
	ip, prefix := svc.Spec.ClusterIP, variableName(svc.Name)
	out[prefix+"_SERVICE_HOST"] = ip
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		port, protocol := strconv.Itoa(int(p.Port)), string(p.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		if i == 0 {
			out[prefix+"_SERVICE_PORT"] = port
		}
		if p.Name != "" {
			out[prefix+"_SERVICE_PORT_"+variableName(p.Name)] = port
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			out[prefix+"_PORT"] = url
		}
		link := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		out[link] = url
		out[link+"_PROTO"] = strings.ToLower(protocol)
		out[link+"_PORT"] = port
		out[link+"_ADDR"] = ip
	}
}

func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }
