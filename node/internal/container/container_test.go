package container

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/test/golden"
)

// check holds what the runtime is asked for against a file.
func check(t *testing.T, name string, config any) {
	t.Helper()
	got, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, filepath.Join("testdata", name), got)
}

func TestConfig(t *testing.T) {
	for _, name := range []string{"minimal", "full"} {
		t.Run(name, func(t *testing.T) {
			spec, err := os.ReadFile(filepath.Join("testdata", name+".pod.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			in := input(t, string(spec))
			in.Attempt = 3
			in.HostsFile, in.TerminationLog, in.SeccompRoot = "/root/etc-hosts", "/root/log", "/root/seccomp"
			for _, m := range in.Container.VolumeMounts {
				in.Mounts = append(in.Mounts, &runtimeapi.Mount{ContainerPath: m.MountPath, HostPath: "/root/volumes/" + m.Name, Readonly: m.ReadOnly})
			}
			config, err := Config(in)
			if err != nil {
				t.Fatal(err)
			}
			check(t, name+".container.yaml", config)
			sandbox, warnings, err := Sandbox(SandboxInput{
				Pod: in.Pod, HostIPs: in.HostIPs, ClusterDNS: addrs("10.96.0.10", "fd00:10:96::a"), ClusterDomain: "cluster.local",
				ResolvConf: []byte("nameserver 192.0.2.53\nsearch example.com\n"), CgroupParent: "/duet/lab/worker0", LogRoot: "/root/logs", SeccompRoot: "/root/seccomp",
			})
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			check(t, name+".sandbox.yaml", sandbox)
		})
	}
}

// C4.2, C4.3: who gets the hosts file, and what comes after what.
func TestMounts(t *testing.T) {
	for _, tt := range []struct{ name, spec, mounts, want string }{
		{"alone", "", "", "/etc/hosts"},
		{"after the volumes", "", "[{name: v, mountPath: /data}]", "/data /etc/hosts"},
		{"its own", "", "[{name: v, mountPath: /etc/hosts}]", "/etc/hosts:own"},
		{"with a slash does not count", "", "[{name: v, mountPath: /etc/hosts/}]", "/etc/hosts/ /etc/hosts"},
		{"/etc does not count", "", "[{name: v, mountPath: /etc}]", "/etc /etc/hosts"},
		{"no address", "no address", "", ""},
		{"no address, but the node's network", "hostNetwork: true\nno address", "", "/etc/hosts"},
		{"the node's network", "hostNetwork: true\n", "", "/etc/hosts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec, none := strings.CutSuffix(tt.spec, "no address")
			in := input(t, spec+"containers: [{name: main, volumeMounts: "+cmp.Or(tt.mounts, "[]")+"}]")
			if none {
				in.PodIPs = nil
			}
			in.HostsFile = "/managed"
			for _, m := range in.Container.VolumeMounts {
				in.Mounts = append(in.Mounts, &runtimeapi.Mount{ContainerPath: m.MountPath, HostPath: "/own"})
			}
			config, err := Config(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range config.Mounts {
				text := m.ContainerPath
				if text == hostsPath && m.HostPath == "/own" {
					text += ":own"
				}
				if m.HostPath == "/managed" && (m.Readonly || !m.SelinuxRelabel) {
					t.Errorf("the managed file must be writable and relabelled: %v", m)
				}
				got = append(got, text)
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got %q, want %q", text, tt.want)
			}
		})
	}
}

func TestSecurity(t *testing.T) {
	uid := int64(101)
	nobody := Image{UID: &uid}
	named := Image{Username: "www"}
	for _, tt := range []struct {
		name, pod, container string
		image                Image
		want                 string
	}{
		{"nothing said", "{}", "{}", Image{}, "user=0 seccomp=Unconfined"},
		{"the image's user", "{}", "{}", nobody, "user=101 seccomp=Unconfined"},
		{"the image's user by name", "{}", "{}", named, "username=www seccomp=Unconfined"},
		{"the Pod's user", "{runAsUser: 1, runAsGroup: 2}", "{}", nobody, "user=1 group=2 seccomp=Unconfined"},
		{"the container's wins", "{runAsUser: 1, runAsGroup: 2}", "{runAsUser: 3, runAsGroup: 4}", nobody, "user=3 group=4 seccomp=Unconfined"},
		{"groups", "{fsGroup: 5, supplementalGroups: [6, 7], supplementalGroupsPolicy: Strict}", "{}", Image{}, "user=0 groups=[5 6 7] strict seccomp=Unconfined"},
		{"capabilities", "{}", "{capabilities: {add: [NET_ADMIN], drop: [ALL]}}", Image{}, "user=0 add=[NET_ADMIN] drop=[ALL] seccomp=Unconfined"},
		{"privileged, read-only", "{}", "{privileged: true, readOnlyRootFilesystem: true}", Image{}, "user=0 privileged readonly seccomp=Unconfined"},
		{"no escalation", "{}", "{allowPrivilegeEscalation: false}", Image{}, "user=0 nonewprivs seccomp=Unconfined"},
		{"escalation", "{}", "{allowPrivilegeEscalation: true}", Image{}, "user=0 seccomp=Unconfined"},
		{"unmasked", "{}", "{procMount: Unmasked}", Image{}, "user=0 unmasked seccomp=Unconfined"},
		{"seccomp", "{seccompProfile: {type: RuntimeDefault}}", "{}", Image{}, "user=0 seccomp=RuntimeDefault"},
		{"seccomp of the container", "{seccompProfile: {type: RuntimeDefault}}", "{seccompProfile: {type: Localhost, localhostProfile: a.json}}", Image{}, "user=0 seccomp=Localhost:/seccomp/a.json"},
		{"seccomp without a profile", "{}", "{seccompProfile: {type: Localhost}}", Image{}, "CreateContainerConfigError: localhostProfile must be set if seccompProfile type is Localhost."},
		{"non-root by number", "{runAsNonRoot: true}", "{}", nobody, "user=101 seccomp=Unconfined"},
		{"non-root, image is root", "{runAsNonRoot: true}", "{}", Image{}, `CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: "web_prod(11111111-2222-3333-4444-555555555555)", container: main)`},
		{"non-root, image has a name", "{}", "{runAsNonRoot: true}", named, `CreateContainerConfigError: container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root (pod: "web_prod(11111111-2222-3333-4444-555555555555)", container: main)`},
		{"non-root, asks for root", "{runAsNonRoot: true}", "{runAsUser: 0}", nobody, `CreateContainerConfigError: container's runAsUser breaks non-root policy (pod: "web_prod(11111111-2222-3333-4444-555555555555)", container: main)`},
		{"the container need not", "{runAsNonRoot: true}", "{runAsNonRoot: false}", Image{}, "user=0 seccomp=Unconfined"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, "securityContext: "+tt.pod+"\ncontainers: [{name: main, securityContext: "+tt.container+"}]")
			in.Image, in.SeccompRoot = tt.image, "/seccomp"
			if got := securityText(in); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func securityText(in Input) string {
	config, err := Config(in)
	if err != nil {
		return Reason(err) + ": " + err.Error()
	}
	sc := config.Linux.SecurityContext
	var out []string
	say := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(sc.RunAsUser != nil, "user=%d", sc.RunAsUser.GetValue())
	say(sc.RunAsUsername != "", "username=%s", sc.RunAsUsername)
	say(sc.RunAsGroup != nil, "group=%d", sc.RunAsGroup.GetValue())
	say(len(sc.SupplementalGroups) > 0, "groups=%v", sc.SupplementalGroups)
	say(sc.SupplementalGroupsPolicy == runtimeapi.SupplementalGroupsPolicy_Strict, "strict")
	say(len(sc.Capabilities.GetAddCapabilities()) > 0, "add=%v", sc.Capabilities.GetAddCapabilities())
	say(len(sc.Capabilities.GetDropCapabilities()) > 0, "drop=%v", sc.Capabilities.GetDropCapabilities())
	say(sc.Privileged, "privileged")
	say(sc.ReadonlyRootfs, "readonly")
	say(sc.NoNewPrivs, "nonewprivs")
	say(len(sc.MaskedPaths) == 0 && len(sc.ReadonlyPaths) == 0, "unmasked")
	say(sc.Seccomp.LocalhostRef == "", "seccomp=%s", sc.Seccomp.ProfileType)
	say(sc.Seccomp.LocalhostRef != "", "seccomp=%s:%s", sc.Seccomp.ProfileType, sc.Seccomp.LocalhostRef)
	return strings.Join(out, " ")
}

func TestResources(t *testing.T) {
	for _, tt := range []struct{ name, spec, want string }{
		{"nothing", "containers: [{name: main}]", "BestEffort shares=2 quota=0 memory=0 oom=1000"},
		{"request", "containers: [{name: main, resources: {requests: {cpu: 500m, memory: 1Gi}}}]", "Burstable shares=512 quota=0 memory=0 oom=900"},
		{"limit alone", "containers: [{name: main, resources: {limits: {cpu: 250m, memory: 64Mi}}}]", "Guaranteed shares=256 quota=25000 memory=67108864 oom=-997"},
		{"guaranteed", "containers: [{name: main, resources: {limits: {cpu: '2', memory: 1Gi}, requests: {cpu: '2', memory: 1Gi}}}]", "Guaranteed shares=2048 quota=200000 memory=1073741824 oom=-997"},
		{"limit above request", "containers: [{name: main, resources: {limits: {cpu: '2', memory: 2Gi}, requests: {cpu: '1', memory: 1Gi}}}]", "Burstable shares=1024 quota=200000 memory=2147483648 oom=900"},
		{"one without limits", "containers: [{name: main, resources: {limits: {cpu: '1', memory: 1Gi}}}, {name: other}]", "Burstable shares=1024 quota=100000 memory=1073741824 oom=999"},
		{"init container counts", "containers: [{name: main}]\ninitContainers: [{name: i, resources: {requests: {cpu: 1m}}}]", "Burstable shares=2 quota=0 memory=0 oom=999"},
		{"tiny", "containers: [{name: main, resources: {limits: {cpu: 1m}}}]", "Burstable shares=2 quota=1000 memory=0 oom=999"},
		{"all of the node", "containers: [{name: main, resources: {requests: {memory: 10Gi}}}]", "Burstable shares=2 quota=0 memory=0 oom=3"},
		{"of the system", "priority: 2000001000\ncontainers: [{name: main}]", "BestEffort shares=2 quota=0 memory=0 oom=-997"},
		{"other resources", "containers: [{name: main, resources: {limits: {hugepages-2Mi: 4Mi}}}]", "BestEffort shares=2 quota=0 memory=0 oom=1000 huge=2MB:4194304"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.spec)
			r := resources(in)
			got := fmt.Sprintf("%s shares=%d quota=%d memory=%d oom=%d", QOS(in.Pod), r.CpuShares, r.CpuQuota, r.MemoryLimitInBytes, r.OomScoreAdj)
			for _, h := range r.HugepageLimits {
				got += fmt.Sprintf(" huge=%s:%d", h.PageSize, h.Limit)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestHash(t *testing.T) {
	a := &corev1.Container{Name: "main", Image: "nginx:1"}
	b := a.DeepCopy()
	if Hash(a) != Hash(b) || Hash(a) == "" {
		t.Errorf("the same container: %q and %q", Hash(a), Hash(b))
	}
	if b.Image = "nginx:2"; Hash(a) == Hash(b) {
		t.Error("another image, the same hash")
	}
}
