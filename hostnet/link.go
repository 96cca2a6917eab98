package hostnet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// listeningLinks returns the links whose kernel listens to router advertisements and would stop
// when it forwards; see [Forward].
func listeningLinks() ([]string, error) {
	routes, err := defaults()
	if err != nil {
		return nil, err
	}
	advertised := map[int]bool{}
	for _, r := range routes {
		advertised[r.Index] = advertised[r.Index] || r.Advertised
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var out []string
	for _, l := range links {
		hardware := l.Type() == "device" && l.Attrs().EncapType == "ether"
		if !hardware && !advertised[l.Attrs().Index] {
			continue
		}
		if v, err := Sysctl("net/ipv6/conf/" + l.Attrs().Name + "/accept_ra"); err == nil && v == "1" {
			out = append(out, l.Attrs().Name)
		}
	}
	return out, nil
}

// Bridge is a link that joins the Pods of a node.
type Bridge struct {
	Name      string
	MTU       int
	Addresses []netip.Prefix // the gateways of the Pods, with the prefix length of their range
}

// Set makes the bridge or changes it to be as wanted. Addresses of other kinds than link-local that
// are not wanted are removed.
//
// The CNI plugin of the same name would make the bridge, too, but its IPv6 address would be unusable
// for the second that duplicate address detection takes, and its hardware address, which all Pods
// have in their neighbour tables, would change with every port.
func (b Bridge) Set() error {
	link, err := netlink.LinkByName(b.Name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		if err := b.add(); err != nil {
			return fmt.Errorf("add bridge %s: %w", b.Name, err)
		}
		link, err = netlink.LinkByName(b.Name)
	}
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", b.Name, err)
	}
	if link.Attrs().MTU != b.MTU {
		if err := netlink.LinkSetMTU(link, b.MTU); err != nil {
			return fmt.Errorf("set the MTU of %s to %d: %w", b.Name, b.MTU, err)
		}
	}
	for name, value := range map[string]string{"accept_ra": "0", "accept_dad": "0"} {
		if err := SetSysctl("net/ipv6/conf/"+b.Name+"/"+name, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := b.setAddresses(link); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) add() error {
	hardware := make([]byte, 6)
	_, _ = rand.Read(hardware)            // never fails
	hardware[0] = hardware[0]&0xfe | 0x02 // one station, locally administered
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: b.Name, MTU: b.MTU, HardwareAddr: hardware}})
}

func (b Bridge) setAddresses(link netlink.Link) error {
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", b.Name, err)
	}
	wanted := map[netip.Prefix]bool{}
	for _, p := range b.Addresses {
		wanted[p] = true
	}
	for _, a := range list {
		p := prefixOf(a.IPNet)
		if wanted[p] {
			delete(wanted, p)
		} else if !p.Addr().IsLinkLocalUnicast() {
			if err := netlink.AddrDel(link, &a); err != nil {
				return fmt.Errorf("remove address %s from %s: %w", p, b.Name, err)
			}
		}
	}
	for _, p := range b.Addresses {
		if !wanted[p] {
			continue
		}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s to %s: %w", p, b.Name, err)
		}
	}
	return nil
}

// RemoveLink deletes a link; none of that name is no error.
func RemoveLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	return nil
}
