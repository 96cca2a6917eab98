package lab

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// forwarded matches what comes from the cluster's end of an uplink and leaves the host by any other link:
//
//	ip saddr 169.254.64.2 oifname != "duet-NAME"
//	ip6 saddr fd64:7565:7400::2 oifname != "duet-NAME"
func forwarded(link string, sources []netip.Addr) (out []nft.Rule) {
	for _, a := range sources {
		f := dualstack.Of(a)
		out = append(out, nft.Join(nft.IsFamily(f), nft.Is(nft.Source(f), a), nft.LeavesByOther(link)))
	}
	return out
}

// masquerade installs a table of that name, in place of what it held before, that hides the senders of
// what matches behind the address of the link that it leaves by.
func masquerade(table string, matching ...nft.Rule) error {
	t, err := nft.Open(table)
	if err != nil {
		return err
	}
	defer t.Close()
	chain := nft.Chain{Name: "postrouting", Hook: nft.Postrouting}
	for _, m := range matching {
		chain.Rules = append(chain.Rules, nft.Join(m, nft.Masquerade()))
	}
	return t.Rebuild(nft.Schema{Chains: []nft.Chain{chain}}, nil)
}

// dropTable removes the table of that name; none is no error.
func dropTable(table string) error {
	t, err := nft.Open(table)
	if err == nil {
		defer t.Close()
		err = t.Remove()
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // no nftables in this kernel: no table either
	}
	return err
}
