package container

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/hosts"
)

// maxFQDN is how long a host name the kernel takes, in characters.
const maxFQDN = 64

// SandboxInput is everything that a sandbox's configuration depends on.
type SandboxInput struct {
	Pod           *corev1.Pod
	HostIPs       []netip.Addr // the node's, primary first
	ClusterDNS    []netip.Addr // as configured, order kept (D3.9)
	ClusterDomain string
	ResolvConf    []byte // the node's resolv.conf, for dnsPolicy Default and the search list
	CgroupParent  string
	LogRoot       string
	Attempt       uint32
	SeccompRoot   string
}

// Warning is something that a user should hear of although the Pod runs: an event of type Warning.
type Warning struct{ Reason, Message string }

// Sandbox returns what to ask the runtime for. The error's text is what the Pod waits for.
func Sandbox(in SandboxInput) (*runtimeapi.PodSandboxConfig, []Warning, error) {
	pod := in.Pod
	hostname, err := Hostname(pod, in.ClusterDomain)
	if err != nil {
		return nil, nil, err
	}
	security, err := sandboxSecurity(in)
	if err != nil {
		return nil, nil, err
	}
	dns, warnings := dnsConfig(in)
	warnings = append(warnings, ignored(pod)...)
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: in.Attempt},
		Hostname:     hostname,
		LogDirectory: LogDirectory(in.LogRoot, pod),
		DnsConfig:    dns,
		PortMappings: portMappings(pod),
		Labels:       labels(pod, pod.Labels),
		Annotations:  maps.Clone(pod.Annotations),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: in.CgroupParent, SecurityContext: security, Sysctls: sysctls(pod),
		},
	}, warnings, nil
}

// Hostname returns the kernel's host name of a Pod: its name, or name and domain together where
// setHostnameAsFQDN asks for it (C3.2). On the node's network it is empty, and the node's stays.
func Hostname(pod *corev1.Pod, clusterDomain string) (string, error) {
	if pod.Spec.HostNetwork {
		return "", nil
	}
	host, domain := hosts.Name(pod, clusterDomain)
	if domain == "" || !is(pod.Spec.SetHostnameAsFQDN) {
		return host, nil
	}
	fqdn := host + "." + domain
	if len(fqdn) > maxFQDN {
		return "", &Error{Reason: ReasonSandbox, Message: fmt.Sprintf(
			"failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			fqdn, maxFQDN, len(fqdn))}
	}
	return fqdn, nil
}

func sandboxSecurity(in SandboxInput) (*runtimeapi.LinuxSandboxSecurityContext, error) {
	sc := podSecurity(in.Pod)
	profile, err := seccomp(sc.SeccompProfile, in.SeccompRoot, runtimeapi.SecurityProfile_RuntimeDefault)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions:         namespaces(in.Pod),
		SelinuxOptions:           selinux(sc.SELinuxOptions),
		RunAsUser:                runAs(sc.RunAsUser, nil),
		SupplementalGroups:       groups(sc),
		SupplementalGroupsPolicy: groupsPolicy(sc),
		Privileged:               anyPrivileged(in.Pod),
		Seccomp:                  profile,
	}
	if out.RunAsUser != nil { // the runtime refuses a group without a user
		out.RunAsGroup = runAs(sc.RunAsGroup, nil)
	}
	return out, nil
}

// anyPrivileged: a sandbox must be privileged for any of its containers to be.
func anyPrivileged(pod *corev1.Pod) bool {
	privileged := func(c corev1.Container) bool { return c.SecurityContext != nil && is(c.SecurityContext.Privileged) }
	return slices.ContainsFunc(pod.Spec.InitContainers, privileged) || slices.ContainsFunc(pod.Spec.Containers, privileged)
}

// portMappings are the ports that the network plugin forwards from the node: in both families where
// no address of the node is named, else in that address's family. On the node's own network there
// is nothing to forward.
func portMappings(pod *corev1.Pod) []*runtimeapi.PortMapping {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []*runtimeapi.PortMapping
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort > 0 {
					out = append(out, &runtimeapi.PortMapping{
						Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
					})
				}
			}
		}
	}
	return out
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	default:
		return runtimeapi.Protocol_TCP
	}
}

// sysctls as the runtime wants them. Whether a Pod may have them was asked before: what it may have
// has no dot within a part.
func sysctls(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	for _, s := range podSecurity(pod).Sysctls {
		out[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
	}
	return out
}

// ignored tells of what a Pod asks for and does not get, although it runs.
func ignored(pod *corev1.Pod) []Warning {
	var out []Warning
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			profile := podSecurity(pod).AppArmorProfile
			if sc := list[i].SecurityContext; sc != nil {
				profile = either(sc.AppArmorProfile, profile)
			}
			if profile != nil && profile.Type != corev1.AppArmorProfileTypeUnconfined {
				out = append(out, Warning{"AppArmorIgnored", fmt.Sprintf("AppArmor profile of container %q is ignored: AppArmor is not enforced on this node", list[i].Name)})
			}
		}
	}
	return out
}
