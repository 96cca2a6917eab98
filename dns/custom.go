package dns

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ConfigMap kube-system/kube-dns says who else is asked for names, in the words that users know of
// kube-dns; both keys may be left out:
//
//	stubDomains: |
//	  {"corp.example": ["192.0.2.53", "[2001:db8::53]:5353"]}
//	upstreamNameservers: |
//	  ["192.0.2.1", "2001:db8::1"]
//
// A server is an address, with a port if it is not 53, of either family; three at most are asked.
// upstreamNameservers take the place of the resolv.conf's. The servers have to be reachable from the
// control plane: an address of a Service is not.
const (
	configMap      = "kube-dns"
	keyStubs       = "stubDomains"
	keyNameservers = "upstreamNameservers"
)

// custom reads the data of the ConfigMap. Nothing of it may be used if there are errors.
func custom(data map[string]string, zone string, us func(netip.AddrPort) bool) (s settings, errs field.ErrorList) {
	at := field.NewPath("data")
	var stubs map[string][]string
	if err := read(data[keyStubs], &stubs); err != nil {
		errs = append(errs, field.Invalid(at.Key(keyStubs), data[keyStubs], `must be JSON such as {"corp.example": ["192.0.2.53"]}: `+err.Error()))
	}
	s.stubs = map[string][]netip.AddrPort{}
	for _, domain := range slices.Sorted(maps.Keys(stubs)) {
		at := at.Key(keyStubs).Key(domain)
		name := strings.ToLower(dns.Fqdn(domain))
		switch problems := validation.IsDNS1123Subdomain(strings.TrimSuffix(name, ".")); {
		case len(problems) > 0:
			errs = append(errs, field.Invalid(at, domain, strings.Join(problems, "; ")))
		case Zone{Name: zone}.has(name):
			errs = append(errs, field.Invalid(at, domain, "is in the cluster's own domain "+strings.TrimSuffix(zone, ".")))
		case len(stubs[domain]) == 0:
			errs = append(errs, field.Required(at, "must name at least one server"))
		}
		servers, wrong := parseServers(stubs[domain], at, us)
		s.stubs[name], errs = servers, append(errs, wrong...)
	}
	var upstream []string
	if err := read(data[keyNameservers], &upstream); err != nil {
		errs = append(errs, field.Invalid(at.Key(keyNameservers), data[keyNameservers], `must be JSON such as ["192.0.2.1"]: `+err.Error()))
	}
	servers, wrong := parseServers(upstream, at.Key(keyNameservers), us)
	s.upstream = servers
	return s, append(errs, wrong...)
}

// read decodes one value, of which nothing may be left over; an empty text is no value.
func read(text string, into any) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind it")
	}
	return nil
}

// parseServers reads addresses, each with or without a port.
func parseServers(list []string, at *field.Path, us func(netip.AddrPort) bool) (out []netip.AddrPort, errs field.ErrorList) {
	if len(list) > maxServers {
		errs = append(errs, field.TooMany(at, len(list), maxServers))
	}
	for i, text := range list {
		server, err := netip.ParseAddrPort(text)
		if addr, alone := netip.ParseAddr(text); alone == nil {
			server, err = netip.AddrPortFrom(addr, portDNS), nil
		}
		switch {
		case err != nil || server.Port() == 0 || server.Addr().Is4In6() || server.Addr().IsUnspecified() || server.Addr().IsMulticast():
			errs = append(errs, field.Invalid(at.Index(i), text, "must be the address of a server, or an address and a port such as 192.0.2.53:5353 or [2001:db8::53]:5353"))
		case us(server):
			errs = append(errs, field.Invalid(at.Index(i), text, "is this cluster's own DNS: a loop"))
		}
		out = append(out, server)
	}
	return out, errs
}
