package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Sysctl reads a value; the name is a path below /proc/sys.
func Sysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(data)), nil
}

// SetSysctl writes a value unless it is there already, so that a read-only /proc/sys with the right
// values is good enough.
func SetSysctl(name, value string) error {
	now, err := Sysctl(name)
	if err != nil || now == value {
		return err
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s from %s to %s: %w", name, now, value, err)
	}
	return nil
}

// Forward switches forwarding on in both families, and keeps the default routes that routers have
// advertised: a kernel that forwards drops those of a link and ignores further ones unless the
// link's accept_ra is 2. It is changed only on links that listen to routers now and are either
// hardware or have such a route: a Pod must never be able to advertise itself as the way out.
func Forward() error {
	links, err := listeningLinks()
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := SetSysctl("net/ipv6/conf/"+l+"/accept_ra", "2"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // not existing: the link has gone meanwhile
		}
	}
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := SetSysctl(name, "1"); err != nil && (!strings.Contains(name, "ipv6") || !errors.Is(err, fs.ErrNotExist)) {
			return err // not existing: a kernel without IPv6
		}
	}
	return nil
}

// TranslateInBridges has what one Pod of the node sends to another looked at by nftables although it
// only crosses the bridge: an answer that goes straight to a Pod which had called a Service would be
// from somebody it does not know. The kernel module br_netfilter does that; it is loaded if need be.
func TranslateInBridges() error {
	for _, name := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		err := SetSysctl(name, "1")
		if errors.Is(err, fs.ErrNotExist) {
			if out, failed := exec.Command("modprobe", "br_netfilter").CombinedOutput(); failed != nil {
				return fmt.Errorf("load the kernel module br_netfilter, which Services between Pods of one node need, by modprobe: %w %s", failed, out)
			}
			err = SetSysctl(name, "1")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
