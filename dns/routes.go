package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// maxServers is how many are taken of a list, as resolvers do.
const maxServers = 3

// routes are who is asked for names that are not ours.
//
// Concurrency: never changed once it is in use.
type routes struct {
	stubs  map[string]*upstreams // by domain in lower case with a dot at the end
	others *upstreams            // for all other names; nil: there are none
}

// find returns whom to ask for a name: those of the longest domain that it is in; nil for nobody.
func (r *routes) find(name string) *upstreams {
	if len(r.stubs) > 0 {
		name = strings.ToLower(name)
		for at, end := 0, false; !end; at, end = dns.NextLabel(name, at) {
			if to := r.stubs[name[at:]]; to != nil {
				return to
			}
		}
	}
	return r.others
}

// settings are what routes are made from: the node's resolv.conf and what the administrator says.
type settings struct {
	stubs      map[string][]netip.AddrPort
	upstream   []netip.AddrPort // instead of the file's
	resolvConf []netip.AddrPort
}

// route makes routes. The servers of the file are reached by outward, all others from here. Servers
// that are us are left out; loops tells of them.
func route(s settings, outward dialFunc, us func(netip.AddrPort) bool) (r *routes, loops []netip.AddrPort) {
	group := func(list []netip.AddrPort, by dialFunc) *upstreams {
		to := &upstreams{dial: by}
		for _, at := range list {
			switch {
			case us(at):
				loops = append(loops, at)
			case len(to.servers) < maxServers:
				to.servers = append(to.servers, at.String())
			}
		}
		return to
	}
	r = &routes{stubs: map[string]*upstreams{}}
	for domain, list := range s.stubs {
		r.stubs[domain] = group(list, dial)
	}
	switch {
	case len(s.upstream) > 0:
		r.others = group(s.upstream, dial)
	case len(s.resolvConf) > 0:
		r.others = group(s.resolvConf, outward)
	}
	return r, loops
}

// nameservers of a resolv.conf, in order.
func nameservers(text []byte) (out []netip.AddrPort) {
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(words[1]); err == nil {
			out = append(out, netip.AddrPortFrom(addr, portDNS))
		}
	}
	return out
}

const portDNS = 53
