package cli

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/lab"
)

// Default ranges. The order decides the default family.
const (
	defaultServiceCIDR = "10.96.0.0/16,fd00:10:96::/112"
	defaultPodCIDR     = "10.244.0.0/16,fd00:10:244::/56"
)

// parseRanges reads the value of --service-cidr or --pod-cidr.
func parseRanges(flag, value string) ([]netip.Prefix, error) {
	prefixes, err := dualstack.Parse("--"+flag, value)
	if err == nil {
		return prefixes, nil
	}
	example := defaultServiceCIDR
	if flag == "pod-cidr" {
		example = defaultPodCIDR
	}
	return nil, &lab.FlagError{Flag: "--" + flag, Value: value, Problem: err.Error(), Want: "want e.g. " + example}
}

// podParts are the lengths of the part of a Pod range that each node gets, by family.
var podParts = map[dualstack.Family]int{dualstack.IPv4: 24, dualstack.IPv6: 64}

// parsePodRanges reads --pod-cidr, which must hold at least one node's part.
func parsePodRanges(value string) ([]netip.Prefix, error) {
	prefixes, err := parseRanges("pod-cidr", value)
	if err != nil {
		return nil, err
	}
	for _, p := range prefixes {
		if part := podParts[dualstack.OfPrefix(p)]; p.Bits() > part {
			return nil, &lab.FlagError{
				Flag: "--pod-cidr", Value: value,
				Problem: fmt.Sprintf("%s is smaller than the /%d that each node gets", p, part), Want: "want e.g. " + defaultPodCIDR,
			}
		}
	}
	return prefixes, nil
}

// parseAddresses reads a list of addresses without zones.
func parseAddresses(flag string, values []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, v := range values {
		a, err := netip.ParseAddr(strings.TrimSpace(v))
		if err != nil || a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
			return nil, &lab.FlagError{Flag: "--" + flag, Value: v, Problem: "not an address to be reached at", Want: "want e.g. 192.0.2.10,2001:db8::10"}
		}
		out = append(out, a)
	}
	return out, nil
}
