package service

import "testing"

func TestA4_ClusterIPs(t *testing.T) {
	checkCreate(t, []faultRow{
		{"A4.1 clusterIP alone is coupled before", `clusterIP: "$0", ports: [{port: 80}]`, ``},
		{
			"A4.1 clusterIPs alone", `clusterIPs: ["$0"], ports: [{port: 80}]`,
			"spec.clusterIPs: Invalid value: [\"$0\"]: must be empty when `clusterIP` is not specified",
		},
		{
			"A4.2 first differs", `clusterIP: "$0", clusterIPs: ["$1", "$0"], ports: [{port: 80}]`,
			"spec.clusterIPs: Invalid value: [\"$1\",\"$0\"]: first value must match `clusterIP`",
		},
		{
			"A4.3 None and another", `clusterIP: None, clusterIPs: [None, "$0"], ports: [{port: 80}]`,
			`spec.clusterIPs: Invalid value: ["None","$0"]: 'None' must be the first and only value`,
		},
		{
			"A4.3 None second", `clusterIP: "$0", clusterIPs: ["$0", None], ports: [{port: 80}]`,
			`spec.clusterIPs[1]: Invalid value: "None": ` + badIP,
		},
		{
			"A4.3 empty entry", `clusterIP: "$0", clusterIPs: ["$0", ""], ports: [{port: 80}]`,
			`spec.clusterIPs[1]: Invalid value: "": ` + badIP,
		},
		{
			"A4.4 three", `clusterIP: "$0", clusterIPs: ["$0", "$1", "$0"], ports: [{port: 80}]`,
			`spec.clusterIPs: Invalid value: ["$0","$1","$0"]: may only hold up to 2 values`,
		},
		{
			"A4.4 twice the same", `clusterIP: "$0", clusterIPs: ["$0", "$0"], ports: [{port: 80}]`,
			`spec.clusterIPs: Invalid value: ["$0","$0"]: may specify no more than one IP for each IP family`,
		},
		{
			"A4.6 no noise after a bad address", `clusterIP: "$0", clusterIPs: ["$0", "$0", x], ipFamilies: [$F1, $F0], ports: [{port: 80}]`,
			`[spec.clusterIPs[2]: Invalid value: "x": ` + badIP + `, spec.clusterIPs: Invalid value: ["$0","$0","x"]: may only hold up to 2 values]`,
		},
		{"Vf families agree", `clusterIP: "$0", clusterIPs: ["$0", "$1"], ipFamilies: [$F0, $F1], ports: [{port: 80}]`, ``},
		{
			"Vf first family", `clusterIP: "$0", ipFamilies: [$F1], ports: [{port: 80}]`,
			"spec.clusterIPs[0]: Invalid value: \"$0\": expected an $F1 value as indicated by `ipFamilies[0]`",
		},
		{
			"Vf both", `clusterIP: "$0", clusterIPs: ["$0", "$1"], ipFamilies: [$F1, $F0], ports: [{port: 80}]`,
			"[spec.clusterIPs[0]: Invalid value: \"$0\": expected an $F1 value as indicated by `ipFamilies[0]`, spec.clusterIPs[1]: Invalid value: \"$1\": expected an $F0 value as indicated by `ipFamilies[1]`]",
		},
		{"A3.8 headless with two families", `clusterIP: None, ipFamilies: [$F0, $F1], ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]`, ``},
		{"A5.11 unknown family", `ipFamilies: [IPv5], ports: [{port: 80}]`, `spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`},
		{"A5.11 family twice", `ipFamilies: [$F0, $F0], ports: [{port: 80}]`, `spec.ipFamilies[1]: Duplicate value: "$F0"`},
		{
			"A5.11 unknown policy", `ipFamilyPolicy: Foo, ports: [{port: 80}]`,
			`spec.ipFamilyPolicy: Unsupported value: "Foo": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`,
		},
	})
	noPlan := sent(t, `clusterIP: 10.96.0.7, ports: [{port: 80}]`)
	check(t, `spec.clusterIPs: Required value`, validate(noPlan, nil))
}

// The texts of 0.7 for fields older than strictness: bad addresses, but any spelling of good ones.
func TestR0_7_LegacyIPs(t *testing.T) {
	for ip, detail := range map[string]string{
		"x":                        badIP,
		"10.96.0":                  badIP,
		"10.96.0.256":              badIP,
		"fd00:10:96::7%eth0":       badIP,
		"10.96.0.007":              `must not have leading 0s`,
		"::ffff:10.96.0.7":         `must not be an IPv4-mapped IPv6 address`,
		"FD00:10:96:0:0:0:0:7":     ``,
		"fd00:0010:0096::0007":     ``,
		"fd00:10:96::7":            ``,
		"10.96.0.7":                ``,
		"2001:db8::192.0.2.1":      ``,
		"2001:db8:0:0:0:0:0:0:0:1": badIP,
	} {
		for field, svc := range map[string]string{
			"clusterIPs":  `clusterIP: "` + ip + `", ports: [{port: 80}]`,
			"externalIPs": `externalIPs: ["` + ip + `"], ports: [{port: 80}]`,
		} {
			want := ""
			if detail != "" {
				want = `spec.` + field + `[0]: Invalid value: "` + ip + `": ` + detail
			}
			t.Run(field+"/"+ip, func(t *testing.T) {
				check(t, want, Validate(t.Context(), stored(t, svc), nil))
			})
		}
	}
}

func TestA5_8_ExternalIPs(t *testing.T) {
	checkCreate(t, []faultRow{
		{"A5.8 either family", `clusterIP: "$0", ipFamilies: [$F0], externalIPs: [192.0.2.1, "2001:db8::1"], ports: [{port: 80}]`, ``},
		{
			"A5.8 unspecified", `externalIPs: [0.0.0.0, "::"], ports: [{port: 80}]`,
			`[spec.externalIPs[0]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0), spec.externalIPs[1]: Invalid value: "::": may not be unspecified (::)]`,
		},
		{
			"A5.8 loopback", `externalIPs: [127.0.0.2, "::1"], ports: [{port: 80}]`,
			`[spec.externalIPs[0]: Invalid value: "127.0.0.2": may not be in the loopback range (127.0.0.0/8, ::1/128), spec.externalIPs[1]: Invalid value: "::1": may not be in the loopback range (127.0.0.0/8, ::1/128)]`,
		},
		{
			"A5.8 link-local", `externalIPs: [169.254.0.1, "fe80::1"], ports: [{port: 80}]`,
			`[spec.externalIPs[0]: Invalid value: "169.254.0.1": may not be in the link-local range (169.254.0.0/16, fe80::/10), spec.externalIPs[1]: Invalid value: "fe80::1": may not be in the link-local range (169.254.0.0/16, fe80::/10)]`,
		},
		{
			"A5.8 link-local multicast", `externalIPs: [224.0.0.1, "ff02::1"], ports: [{port: 80}]`,
			`[spec.externalIPs[0]: Invalid value: "224.0.0.1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10), spec.externalIPs[1]: Invalid value: "ff02::1": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)]`,
		},
	})
}
