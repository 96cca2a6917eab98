package dualstack

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Parse reads the value of a flag such as `--service-cidr 10.96.0.0/16,fd00:10:96::/112`: one
// prefix, or two of different families. Order matters: the first names the default family. Host
// bits are dropped, 10.0.0.5/24 means 10.0.0.0/24 (B4.1).
//
// The flag's name, with its dashes, goes into every error. The wording up to the colon is
// upstream's (B4.7); what follows says what was found and what to write instead.
func Parse(flag, list string) ([]netip.Prefix, error) {
	if strings.TrimSpace(list) == "" {
		return nil, fmt.Errorf("%s must not be empty: give one prefix or two, for example 10.96.0.0/16,fd00:10:96::/112", flag)
	}
	entries := strings.Split(list, ",")
	if len(entries) > 2 {
		return nil, fmt.Errorf("%s must not contain more than two entries: it has %d, give one for each IP family", flag, len(entries))
	}
	// Upstream words a bad secondary range differently from a bad primary one.
	complaint := [2]string{"is not a valid cidr", "is not an ip net"}
	prefixes := make([]netip.Prefix, len(entries))
	for i, entry := range entries {
		p, err := parsePrefix(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("%s[%d] %s: %q: %w", strings.TrimLeft(flag, "-"), i, complaint[i], entry, err)
		}
		prefixes[i] = p
	}
	if len(prefixes) == 2 && OfPrefix(prefixes[0]) == OfPrefix(prefixes[1]) {
		return nil, fmt.Errorf("%s[0] and %s[1] must be of different IP family: %s are both %s",
			flag, flag, Join(prefixes), OfPrefix(prefixes[0]))
	}
	return prefixes, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("write it as 10.96.0.0/16 or fd00:10:96::/112")
	case p.Addr().Is4In6():
		return netip.Prefix{}, errors.New("write an IPv4-mapped prefix as plain IPv4")
	}
	return p.Masked(), nil
}
