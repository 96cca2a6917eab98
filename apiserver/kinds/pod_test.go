package kinds

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/duetk8s/duet/apiserver/defaults"
)

// podOf reads a spec. Without containers it gets one called c, of image i; "c:" adds fields to that.
func podOf(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	p.Name, p.Namespace = "p", "default"
	if inner, ok := strings.CutPrefix(spec, "c: "); ok {
		c := corev1.Container{Name: "c", Image: "i"}
		if err := yaml.UnmarshalStrict([]byte(inner), &c); err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		p.Spec.Containers = []corev1.Container{c}
		spec = ""
	}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	if p.Spec.Containers == nil && !strings.Contains(spec, "containers: []") {
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	}
	defaults.Pod(p)
	return p
}

func TestValidatePod(t *testing.T) {
	const label = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	const subdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	rows := []struct{ name, spec, want string }{
		{"the least", ``, ``},
		{"no containers", `containers: []`, `spec.containers: Required value`},
		{"container name", `containers: [{name: A, image: i}]`, `spec.containers[0].name: Invalid value: "A": ` + label},
		{"no name, no image", `containers: [{}]`, "spec.containers[0].name: Required value\nspec.containers[0].image: Required value"},
		{"names twice", `{initContainers: [{name: c, image: i}], containers: [{name: c, image: i}]}`, `spec.initContainers[0].name: Duplicate value: "c"`},
		{"image with space", `c: {image: " i"}`, `spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace`},
		{"stop signal", `{os: {name: linux}, containers: [{name: c, image: i, lifecycle: {stopSignal: SIGRTMIN+15}}, {name: d, image: i, lifecycle: {stopSignal: SIGRTMAX-14}}]}`, ``},
		{"stop signal of no system", `c: {lifecycle: {stopSignal: SIGUSR1}}`, "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers when `spec.os.name` is empty"},
		{"stop signal of another system", `{os: {name: windows}, containers: [{name: c, image: i, lifecycle: {stopSignal: SIGUSR1}}]}`, `spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGUSR1": supported values: "SIGKILL", "SIGTERM"`},
		{"pull policy", `c: {imagePullPolicy: Some}`, `spec.containers[0].imagePullPolicy: Unsupported value: "Some": supported values: "Always", "IfNotPresent", "Never"`},
		{"restart policy", `restartPolicy: Maybe`, `spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"`},
		{"DNS policy", `dnsPolicy: Mine`, `spec.dnsPolicy: Unsupported value: "Mine": supported values: "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"`},
		{"ephemeral", `ephemeralContainers: [{name: e, image: i}]`, `spec.ephemeralContainers: Forbidden: cannot be set on create`},

		{"port missing", `c: {ports: [{name: web}]}`, `spec.containers[0].ports[0].containerPort: Required value`},
		{"port too high", `c: {ports: [{containerPort: 70000}]}`, `spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`},
		{"port names twice", `c: {ports: [{name: web, containerPort: 1}, {name: web, containerPort: 2}]}`, `spec.containers[0].ports[1].name: Duplicate value: "web"`},
		{"port name", `c: {ports: [{name: "1", containerPort: 1}]}`, `spec.containers[0].ports[0].name: Invalid value: "1": must contain at least one letter (a-z)`},
		{"protocol", `c: {ports: [{containerPort: 1, protocol: ICMP}]}`, `spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`},
		{"host port twice", `c: {ports: [{containerPort: 1, hostPort: 80}, {containerPort: 2, hostPort: 80}]}`, `spec.containers[0].ports[1].hostPort: Duplicate value: "/TCP/80"`},
		{"host port of both protocols", `c: {ports: [{containerPort: 1, hostPort: 80}, {containerPort: 1, hostPort: 80, protocol: UDP}]}`, ``},
		{"host network", `{hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 81}]}]}`, "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"},
		{"host network and user namespace", `{hostNetwork: true, hostUsers: false}`, "spec.hostNetwork: Forbidden: when `hostUsers` is false"},

		{"environment", `c: {env: [{name: A, value: b}, {name: a.b-c, value: d}, {name: N, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}]}`, ``},
		{"environment without name", `c: {env: [{value: b}]}`, `spec.containers[0].env[0].name: Required value`},
		{"environment from nothing", `c: {env: [{name: A, valueFrom: {}}]}`, "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"},
		{"environment twice", `c: {env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]}`, "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"},
		{"unknown field", `c: {env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.foo}}}]}`, `spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.foo": error converting fieldPath: field label not supported: spec.foo`},
		{"field of files", `c: {env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]}`, `spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`},
		{"one label", `c: {env: [{name: A, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}]}`, ``},
		{"key of a config map", `c: {env: [{name: A, valueFrom: {configMapKeyRef: {name: m}}}]}`, `spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value`},
		{"divisor", `c: {env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 2}}}]}`, `spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource`},
		{"environment from", `c: {envFrom: [{}]}`, "spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"},

		{"mount of nothing", `c: {volumeMounts: [{name: v, mountPath: /v}]}`, `spec.containers[0].volumeMounts[0].name: Not found: "v"`},
		{"mount nowhere", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v}]}]}`, `spec.containers[0].volumeMounts[0].mountPath: Required value`},
		{"mount twice", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]}]}`, `spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/v": must be unique`},
		{"sub path up", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, subPath: a/../..}]}]}`, `spec.containers[0].volumeMounts[0].subPath: Invalid value: "a/../..": must not contain '..'`},
		{"sub paths", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, subPath: a, subPathExpr: b}]}]}`, `spec.containers[0].volumeMounts[0].subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive`},
		{"propagation", `{volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]}`, `spec.containers[0].volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`},
		{"hosts file of its own", `{volumes: [{name: v, configMap: {name: m}}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /etc/hosts, subPath: hosts}]}]}`, ``},

		{"request over limit", `c: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}`, `spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`},
		{"negative limit", `c: {resources: {limits: {memory: -1Gi}, requests: {memory: -1Gi}}}`, "spec.containers[0].resources.limits[memory]: Invalid value: \"-1Gi\": must be greater than or equal to 0\nspec.containers[0].resources.requests[memory]: Invalid value: \"-1Gi\": must be greater than or equal to 0"},
		{"unknown resource", `c: {resources: {requests: {gpu: 1}, limits: {gpu: 1}}}`, "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers\nspec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers"},
		{"extended resource", `c: {resources: {limits: {example.com/gpu: 1}}}`, ``},
		{"half a device", `c: {resources: {limits: {example.com/gpu: 500m}}}`, "spec.containers[0].resources.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer\nspec.containers[0].resources.requests[example.com/gpu]: Invalid value: \"500m\": must be an integer"},
		{"huge pages alone", `c: {resources: {limits: {hugepages-2Mi: 2Mi}}}`, `spec.containers[0].resources: Forbidden: HugePages require cpu or memory`},

		{"probe", `c: {readinessProbe: {httpGet: {port: web}}, livenessProbe: {exec: {command: ["true"]}}}`, ``},
		{"probe without handler", `c: {livenessProbe: {periodSeconds: 1}}`, `spec.containers[0].livenessProbe: Required value: must specify a handler type`},
		{"probe with two", `c: {livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}}`, `spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type`},
		{"probe's port", `c: {livenessProbe: {tcpSocket: {port: 0}}}`, `spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive`},
		{"probe's successes", `c: {livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}}`, `spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1`},
		{"probe's delay", `c: {readinessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: -1}}`, `spec.containers[0].readinessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0`},
		{"hook", `c: {lifecycle: {preStop: {exec: {}}}}`, `spec.containers[0].lifecycle.preStop.exec.command: Required value`},
		{"hook sleeps too long", `{terminationGracePeriodSeconds: 5, containers: [{name: c, image: i, lifecycle: {preStop: {sleep: {seconds: 9}}}}]}`, `spec.containers[0].lifecycle.preStop.sleep: Invalid value: 9: must be non-negative and less than terminationGracePeriodSeconds (5)`},
		{"init container with probe", `initContainers: [{name: a, image: i, readinessProbe: {tcpSocket: {port: 1}}}]`, `spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always`},
		{"sidecar with probe", `initContainers: [{name: a, image: i, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 1}}}]`, ``},
		{"container's restart policy", `initContainers: [{name: a, image: i, restartPolicy: Often}]`, `spec.initContainers[0].restartPolicy: Unsupported value: "Often": supported values: "Always", "Never", "OnFailure"`},

		{"user", `c: {securityContext: {runAsUser: -1}}`, `spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive`},
		{"privilege", `c: {securityContext: {privileged: true, allowPrivilegeEscalation: false}}`, "spec.containers[0].securityContext: Invalid value: {\"privileged\":true,\"allowPrivilegeEscalation\":false}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"},
		{"seccomp", `securityContext: {seccompProfile: {type: Localhost}}`, `spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`},
		{"sysctl", `securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}, {name: net.ipv4.tcp_syncookies, value: "1"}]}`, `spec.securityContext.sysctls[1].name: Duplicate value: "net.ipv4.tcp_syncookies"`},
		{"sysctl of the node", `{hostNetwork: true, securityContext: {sysctls: [{name: net.core.somaxconn, value: "1"}]}}`, `spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": may not be specified when 'hostNetwork' is true`},

		{"volume twice", `volumes: [{name: v}, {name: v}]`, `spec.volumes[1].name: Duplicate value: "v"`},
		{"volume of two kinds", `volumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]`, `spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type`},
		{"secret", `volumes: [{name: v, secret: {defaultMode: 01000}}]`, "spec.volumes[0].secret.secretName: Required value\nspec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive"},
		{"config map", `volumes: [{name: v, configMap: {name: m, items: [{key: k, path: ../x}]}}]`, `spec.volumes[0].configMap.items[0].path: Invalid value: "../x": must not contain '..'`},
		{"host path", `volumes: [{name: v, hostPath: {path: /a/../b, type: Pipe}}]`, "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'\nspec.volumes[0].hostPath.type: Unsupported value: \"Pipe\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\""},
		{"downward addresses", `volumes: [{name: v, downwardAPI: {items: [{path: ip, fieldRef: {fieldPath: status.podIP}}]}}]`, `spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: "status.podIP": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"`},
		{"token", `volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t, expirationSeconds: 60}}]}}]`, `spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes`},

		{"aliases", `hostAliases: [{ip: 127.0.0.1, hostnames: [a.b]}, {ip: "::1"}]`, ``},
		{"aliases' faults", `hostAliases: [{ip: 010.0.0.1}, {ip: "", hostnames: [a_b]}]`, "spec.hostAliases[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s\nspec.hostAliases[1].ip: Invalid value: \"\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)\nspec.hostAliases[1].hostnames[0]: Invalid value: \"a_b\": " + subdomain},
		{"aliases on the host network", `{hostNetwork: true, hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]}`, ``},
		{"host name", `{hostname: A, subdomain: b.c}`, "spec.hostname: Invalid value: \"A\": " + label + "\nspec.subdomain: Invalid value: \"b.c\": must not contain dots"},
		{"host name override", `{hostNetwork: true, setHostnameAsFQDN: true, hostnameOverride: a.b}`, "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true\nspec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true"},
		{"host name override too long", `hostnameOverride: ` + strings.Repeat("a", 63) + `.b`, `spec.hostnameOverride: Too long: may not be more than 64 bytes`},
		{"no DNS", `dnsPolicy: None`, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"},
		{"no nameserver", `{dnsPolicy: None, dnsConfig: {}}`, "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"},
		{"nameservers of both families", `dnsConfig: {nameservers: [10.0.0.1, "fd00::1"], searches: [a.b., ., _tcp.x]}`, ``},
		{"too many nameservers", `dnsConfig: {nameservers: [10.0.0.1, 10.0.0.2, "fd00::1", "fd00::2"]}`, `spec.dnsConfig.nameservers: Invalid value: ["10.0.0.1","10.0.0.2","fd00::1","fd00::2"]: must not have more than 3 nameservers`},
		{"option", `dnsConfig: {options: [{value: "2"}]}`, `spec.dnsConfig.options[0]: Required value: must not be empty`},

		{"toleration of all", `tolerations: [{operator: Exists}]`, ``},
		{"toleration without key", `tolerations: [{value: v}]`, "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""},
		{"toleration for a while", `tolerations: [{key: k, operator: Exists, effect: NoSchedule, tolerationSeconds: 1}]`, "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"},
		{"toleration's effect", `tolerations: [{key: k, effect: Nope}]`, `spec.tolerations[0].effect: Unsupported value: "Nope": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`},
		{"affinity without terms", `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}`, `spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term`},
		{"affinity without values", `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: In}]}]}}}`, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"},
		{"affinity's weight", `affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {topologyKey: k}}]}}`, `spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100`},
		{"spread", `topologySpreadConstraints: [{maxSkew: 0, topologyKey: zone, whenUnsatisfiable: Wait}]`, "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero\nspec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Wait\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\""},
		{"deadline", `activeDeadlineSeconds: 0`, `spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive`},
		{"node", `nodeName: Node_1`, `spec.nodeName: Invalid value: "Node_1": ` + subdomain},
		{"gated on a node", `{nodeName: n, schedulingGates: [{name: a/b}]}`, `spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`},
		{"overhead", `overhead: {cpu: -1}`, `spec.overhead[cpu]: Invalid value: "-1": must be greater than or equal to 0`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, err := range ValidatePod(podOf(t, row.spec), nil) {
				got = append(got, err.Error())
			}
			if strings.Join(got, "\n") != row.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), row.want)
			}
		})
	}
}

func TestPodUpdate(t *testing.T) {
	rows := []struct{ name, old, spec, want string }{
		{"nothing", ``, ``, ``},
		{"image", `c: {image: a}`, `c: {image: b}`, ``},
		{"image away", `c: {image: a}`, `c: {image: ""}`, `spec.containers[0].image: Required value`},
		{"container more", ``, `containers: [{name: c, image: i}, {name: d, image: i}]`, `spec.containers: Forbidden: pod updates may not add or remove containers`},
		{"aliases", ``, `hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]`, "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"},
		{"node", `nodeName: a`, `nodeName: b`, "spec: Forbidden: pod updates may not change fields other than "},
		{"ephemeral container", ``, `ephemeralContainers: [{name: e, image: i}]`, "spec: Forbidden: pod updates may not change fields other than "},
		{"toleration more", ``, `tolerations: [{key: a, operator: Exists}]`, ``},
		{"toleration away", `tolerations: [{key: a, operator: Exists}]`, ``, `spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`},
		{"negative grace mended", `terminationGracePeriodSeconds: -1`, `terminationGracePeriodSeconds: 1`, ``},
		{"grace", `terminationGracePeriodSeconds: 30`, `terminationGracePeriodSeconds: 1`, "spec: Forbidden: pod updates may not change fields other than "},
		{"deadline set", ``, `activeDeadlineSeconds: 9`, ``},
		{"deadline later", `activeDeadlineSeconds: 9`, `activeDeadlineSeconds: 10`, `spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value`},
		{"deadline away", `activeDeadlineSeconds: 9`, ``, `spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value`},
		{"gate away", `schedulingGates: [{name: a/b}]`, ``, ``},
		{"gate more", ``, `schedulingGates: [{name: a/b}]`, `spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a/b'`},
		{"narrowed", `{schedulingGates: [{name: a/b}], nodeSelector: {a: b}}`, `{schedulingGates: [{name: a/b}], nodeSelector: {a: b, c: d}}`, ``},
		{"widened", `{schedulingGates: [{name: a/b}], nodeSelector: {a: b}}`, `schedulingGates: [{name: a/b}]`, `spec.nodeSelector: Invalid value: null: only additions are allowed to spec.nodeSelector (no mutations or deletions)`},
		{"affinity while gated", `schedulingGates: [{name: a/b}]`, `{schedulingGates: [{name: a/b}], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}}}`, ``},
		{"no gates, node selector", `nodeSelector: {a: b}`, `nodeSelector: {a: b, c: d}`, "spec: Forbidden: pod updates may not change fields other than "},
		// C5.6: what an older server let in stops every update.
		{"an old address", `hostAliases: [{ip: 010.0.0.1}]`, `hostAliases: [{ip: 010.0.0.1}]`, `spec.hostAliases[0].ip: Invalid value: "010.0.0.1": must not have leading 0s`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, err := range ValidatePod(podOf(t, row.spec), podOf(t, row.old)) {
				got = append(got, err.Error())
			}
			if all := strings.Join(got, "\n"); all != row.want && (!strings.HasPrefix(row.want, "spec: ") || !strings.HasPrefix(all, row.want)) {
				t.Errorf("got\n%s\nwant\n%s", all, row.want)
			}
		})
	}
}

func TestPodWarnings(t *testing.T) {
	rows := []struct{ name, spec, want string }{
		{"nothing", ``, ``},
		{"addresses", `hostAliases: [{ip: 10.0.0.1}, {ip: 10.0.0.1}, {ip: "FD00::1"}]`, "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"\nspec.hostAliases[2].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")"},
		{"environment", `c: {env: [{name: A, value: a}, {name: A, value: b}]}`, `spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`},
		{"environment extended", `c: {env: [{name: A, value: a}, {name: A, value: "$(A)b"}]}`, ``},
		{"ports", `c: {ports: [{containerPort: 1}, {containerPort: 1}]}`, `spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]`},
		{"half a byte", `c: {resources: {requests: {memory: 500m}}}`, `spec.containers[0].resources.requests[memory]: fractional byte value "500m" is invalid, must be an integer`},
		{"grace", `terminationGracePeriodSeconds: -1`, `spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`},
		{"older label", `nodeSelector: {beta.kubernetes.io/os: linux}`, `spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`},
		{"pull secret", `imagePullSecrets: [{}]`, `spec.imagePullSecrets[0].name: invalid empty name ""`},
	}
	for _, row := range rows {
		if got := strings.Join(PodWarnings(podOf(t, row.spec), nil), "\n"); got != row.want {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, got, row.want)
		}
	}
}

func TestPodStatusUpdate(t *testing.T) {
	rows := []struct{ name, policy, old, status, want string }{
		{"both families", "Always", ``, `{hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.1}], podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: "fd00::1"}]}`, ``},
		{"one family twice", "Always", ``, `{podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 10.1.0.2}]}`, `status.podIPs: Invalid value: ["10.1.0.1","10.1.0.2"]: may specify no more than one IP for each IP family`},
		{"host address", "Always", ``, `{hostIP: 10.0.0.1, hostIPs: [{ip: "fd00::1"}]}`, "status.hostIPs[0].ip: Invalid value: \"fd00::1\": must be equal to `hostIP`"},
		{"class", "Always", `{qosClass: Burstable}`, `{qosClass: Guaranteed}`, `status.qosClass: Invalid value: "Guaranteed": field is immutable`},
		{"restarted", "Always", `containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]`, `containerStatuses: [{name: c, state: {running: {}}}]`, ``},
		{"back from the dead", "Never", `containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]`, `containerStatuses: [{name: c, state: {running: {}}}]`, `status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`},
		{"tried again", "OnFailure", `containerStatuses: [{name: c, state: {terminated: {exitCode: 1}}}]`, `containerStatuses: [{name: c, state: {waiting: {}}}]`, ``},
		{"done again", "OnFailure", `containerStatuses: [{name: c, state: {terminated: {exitCode: 0}}}]`, `containerStatuses: [{name: c, state: {waiting: {}}}]`, `status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`},
	}
	for _, row := range rows {
		p := podOf(t, "restartPolicy: "+row.policy)
		old := p.DeepCopy()
		for text, into := range map[string]*corev1.PodStatus{row.status: &p.Status, row.old: &old.Status} {
			if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, err := range ValidatePodStatus(p, old) {
			got = append(got, err.Error())
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), row.want)
		}
	}
}

func TestValidateNode(t *testing.T) {
	rows := []struct{ name, old, node, want string }{
		{"both families", ``, `spec: {podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}`, ``},
		{"one family twice", ``, `spec: {podCIDRs: [10.1.0.0/24, 10.2.0.0/24]}`, `spec.podCIDRs: Invalid value: ["10.1.0.0/24","10.2.0.0/24"]: may specify no more than one CIDR for each IP family`},
		{"range changes", `spec: {podCIDRs: [10.1.0.0/24]}`, `spec: {podCIDRs: [10.2.0.0/24]}`, `spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`},
		{"second range", `spec: {podCIDRs: [10.1.0.0/24]}`, `spec: {podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}`, `spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`},
		{"address twice", ``, `status: {addresses: [{type: InternalIP, address: 10.0.0.1}, {type: InternalIP, address: 10.0.0.1}]}`, `status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"10.0.0.1"}`},
		{"taint", ``, `spec: {taints: [{key: k, effect: Nope}]}`, `spec.taints[0].effect: Unsupported value: "Nope": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`},
		{"taint twice", ``, `spec: {taints: [{key: k, effect: NoSchedule}, {key: k, value: v, effect: NoSchedule}]}`, `spec.taints[1]: Duplicate value: {"key":"k","value":"v","effect":"NoSchedule"}: taints must be unique by key and effect pair`},
		{"provider", `spec: {providerID: a}`, `spec: {providerID: b}`, `spec.providerID: Forbidden: node updates may not change providerID except from "" to valid`},
		{"cordon", `spec: {providerID: a}`, `spec: {providerID: a, unschedulable: true}`, ``},
		{"capacity", ``, `status: {capacity: {cpu: -1}}`, `status.capacity[cpu]: Invalid value: "-1": must be greater than or equal to 0`},
	}
	for _, row := range rows {
		var n corev1.Node
		var old *corev1.Node
		if err := yaml.UnmarshalStrict([]byte(row.node), &n); err != nil {
			t.Fatal(err)
		}
		if row.old != "" {
			old = &corev1.Node{}
			if err := yaml.UnmarshalStrict([]byte(row.old), old); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, err := range ValidateNode(&n, old) {
			got = append(got, err.Error())
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), row.want)
		}
	}
}
