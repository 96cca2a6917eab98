package dns

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

const (
	// ttl of all answers, in seconds: how long a change may go unnoticed by a client that caches.
	ttl = 5
	// version of the specification (D5.3).
	version = "1.1.0"
	// chase is how many aliases of the zone are followed.
	chase = 8
)

// Source is what is known of the cluster. Nothing that it returns may be changed.
type Source interface {
	// Namespace tells whether there is one.
	Namespace(name string) bool
	// Service returns nil if there is none.
	Service(namespace, name string) *corev1.Service
	// Slices of a Service.
	Slices(namespace, name string) []*discoveryv1.EndpointSlice
	// ServiceAt returns the Service with that cluster address, nil if there is none.
	ServiceAt(netip.Addr) *corev1.Service
	// SlicesAt returns the slices with an endpoint at that address.
	SlicesAt(netip.Addr) []*discoveryv1.EndpointSlice
	// Pod tells whether one of the namespace has that address and has not ended.
	Pod(namespace string, addr netip.Addr) bool
	// InRange tells whether the address is of a ServiceCIDR: they come and go.
	InRange(netip.Addr) bool
}

// Zone is what this server answers for.
type Zone struct {
	// Name is the cluster's domain, in lower case with a dot at the end: "cluster.local.".
	Name string
	// Ranges that are the cluster's for good: nobody else knows names of these addresses.
	Ranges []netip.Prefix
}

// Answer is what there is to say of a question.
type Answer struct {
	// Ours is false for a name that others must be asked about; everything else is empty then.
	Ours      bool
	Code      int
	Answers   []dns.RR
	Authority []dns.RR // with an answer that says no
	Extra     []dns.RR
	// Outside is a name that an alias leads to, to be asked for elsewhere.
	Outside string
}

// Answer decides.
func (z Zone) Answer(q dns.Question, from Source) Answer {
	name := strings.ToLower(q.Name)
	if addr, ok := parseReverse(name); ok {
		return z.reverse(q, addr, from)
	}
	if !z.has(name) {
		return Answer{}
	}
	a := Answer{Ours: true}
	owner := q.Name // as it was asked: clients compare
	for range chase {
		found := z.find(strings.TrimSuffix(strings.TrimSuffix(name, z.Name), "."), from)
		switch {
		case found == nil:
			return a.no(dns.RcodeNameError, z.Name)
		case found.alias == "":
			had := len(a.Answers)
			found.records(z, owner, q.Qtype, &a)
			if len(a.Answers) == had {
				return a.no(dns.RcodeSuccess, z.Name)
			}
			return a
		}
		a.Answers = append(a.Answers, &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: found.alias})
		if q.Qtype == dns.TypeCNAME || q.Qtype == dns.TypeANY {
			return a
		}
		name, owner = strings.ToLower(found.alias), found.alias
		if !z.has(name) {
			q.Name = found.alias
			if end := z.Answer(q, from); end.Ours { // of an address
				end.Answers = append(a.Answers, end.Answers...)
				return end
			}
			a.Outside = found.alias
			return a
		}
	}
	a.Code = dns.RcodeServerFailure // aliases in a circle
	return a
}

// has tells whether a name in lower case is the zone's or below it.
func (z Zone) has(name string) bool { return name == z.Name || strings.HasSuffix(name, "."+z.Name) }

// no is a as an answer without what was asked for, and for how long that holds (RFC 2308).
func (a Answer) no(code int, zone string) Answer {
	a.Code, a.Authority = code, []dns.RR{authority(zone)}
	return a
}

// found is what a name of the zone stands for. All fields empty: the name exists and has no records.
type found struct {
	apex  bool   // the zone itself
	alias string // ExternalName
	addrs []netip.Addr
	ports []target
	text  string
	// servers are the addresses of cluster DNS, at the apex.
	servers []netip.Addr
}

// target of an SRV record.
type target struct {
	name  string // without the zone
	port  uint16
	addrs []netip.Addr
}

// records adds those of the type that was asked for.
func (f *found) records(z Zone, owner string, kind uint16, to *Answer) {
	for _, addr := range f.addrs {
		if rr := address(owner, addr); rr.Header().Rrtype == kind || kind == dns.TypeANY {
			to.Answers = append(to.Answers, rr)
		}
	}
	if f.apex && (kind == dns.TypeSOA || kind == dns.TypeANY) {
		to.Answers = append(to.Answers, authority(owner))
	}
	if f.apex && (kind == dns.TypeNS || kind == dns.TypeANY) {
		to.Answers = append(to.Answers, &dns.NS{Hdr: header(owner, dns.TypeNS), Ns: nameServer + z.Name})
		for _, addr := range f.servers {
			to.Extra = append(to.Extra, address(nameServer+z.Name, addr))
		}
	}
	if f.text != "" && (kind == dns.TypeTXT || kind == dns.TypeANY) {
		to.Answers = append(to.Answers, &dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: []string{f.text}})
	}
	if kind != dns.TypeSRV && kind != dns.TypeANY {
		return
	}
	for _, p := range f.ports {
		host := p.name + "." + z.Name
		to.Answers = append(to.Answers, &dns.SRV{
			Hdr: header(owner, dns.TypeSRV), Weight: uint16(max(1, 100/len(f.ports))), Port: p.port, Target: host,
		})
		for _, addr := range p.addrs {
			to.Extra = append(to.Extra, address(host, addr))
		}
	}
}

// find looks a name up, given without the zone: "web.default.svc". nil: there is no such name.
func (z Zone) find(name string, from Source) *found {
	switch name {
	case "":
		return &found{apex: true, servers: servers(from)}
	case "svc", "pod", "dns":
		return &found{}
	case "ns.dns":
		return &found{addrs: servers(from)}
	case "dns-version":
		return &found{text: version}
	}
	labels := strings.Split(name, ".")
	kind, labels := labels[len(labels)-1], labels[:len(labels)-1]
	namespace, labels := labels, labels[:max(0, len(labels)-1)]
	if len(namespace) == 0 || (kind != "svc" && kind != "pod") {
		return nil
	}
	ns := namespace[len(namespace)-1]
	switch {
	case len(labels) == 0:
		if from.Namespace(ns) {
			return &found{}
		}
		return nil
	case kind == "pod":
		if addr, ok := podAddress(labels[0]); ok && len(labels) == 1 && from.Pod(ns, addr) {
			return &found{addrs: []netip.Addr{addr}}
		}
		return nil
	}
	svc := from.Service(ns, labels[len(labels)-1])
	if svc == nil {
		return nil
	}
	return service{svc, from}.find(labels[:len(labels)-1])
}

// nameServer is what the zone's server is called, before the zone.
const nameServer = "ns.dns."

// servers are the addresses of cluster DNS.
func servers(from Source) []netip.Addr {
	if svc := from.Service(serviceNamespace, serviceKubeDNS); svc != nil {
		return service{svc, from}.addresses()
	}
	return nil
}

// authority of a zone, also for how long a no holds.
func authority(zone string) dns.RR {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA), Ns: nameServer + zone, Mbox: "hostmaster." + zone,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

func serviceName(namespace, name string) string { return fmt.Sprintf("%s.%s.svc", name, namespace) }

func header(owner string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// address is an A or AAAA record.
func address(owner string, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: header(owner, dns.TypeA), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: addr.AsSlice()}
}
