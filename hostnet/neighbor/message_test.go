package neighbor

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var (
	us   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	them = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(m message, ok bool) string {
	if !ok {
		return "ignored"
	}
	verb := "says"
	if m.Asks {
		verb = "asks"
	}
	return fmt.Sprintf("%s (%s) %s %s", m.From, m.Station, verb, m.Target)
}

// The frames are what Linux sends.
func TestRead(t *testing.T) {
	const (
		ns    = "60000000 0020 3a ff fd000172003000000000000000000009 ff0200000000000000000001ff00f000 8700 9a4c 00000000 fd00017200300000000000000000f000 0101 020000000002"
		probe = "60000000 0018 3a ff 00000000000000000000000000000000 ff0200000000000000000001ff00f000 8700 9c03 00000000 fd00017200300000000000000000f000"
	)
	for _, row := range []struct{ name, frame, want string }{
		{"ARP request", "0001 0800 06 04 0001 020000000002 ac1e0009 000000000000 ac1e00c0", "172.30.0.9 (02:00:00:00:00:02) asks 172.30.0.192"},
		{"with padding", "0001 0800 06 04 0001 020000000002 ac1e0009 000000000000 ac1e00c0 00000000000000", "172.30.0.9 (02:00:00:00:00:02) asks 172.30.0.192"},
		{"ARP probe", "0001 0800 06 04 0001 020000000002 00000000 000000000000 ac1e00c0", "0.0.0.0 (02:00:00:00:00:02) asks 172.30.0.192"},
		{"ARP reply", "0001 0800 06 04 0002 020000000002 ac1e00c0 020000000001 ac1e0003", "172.30.0.192 (02:00:00:00:00:02) says 172.30.0.192"},
		{"ARP announcement", "0001 0800 06 04 0001 020000000002 ac1e00c0 000000000000 ac1e00c0", "172.30.0.192 (02:00:00:00:00:02) says 172.30.0.192"},
		{"ARP of something else", "0006 0800 06 04 0001 020000000002 ac1e0009 000000000000 ac1e00c0", "ignored"},
		{"ARP cut off", "0001 0800 06 04 0001 020000000002 ac1e0009", "ignored"},
		{"RARP", "0001 0800 06 04 0003 020000000002 ac1e0009 000000000000 ac1e00c0", "ignored"},
		{"solicitation", ns, "fd00:172:30::9 (02:00:00:00:00:02) asks fd00:172:30::f000"},
		{"duplicate address detection", probe, ":: () asks fd00:172:30::f000"},
		{"wrong checksum", strings.Replace(ns, "9a4c", "0000", 1), "ignored"},
		{"from afar", strings.Replace(ns, "3a ff", "3a fe", 1), "ignored"},
		{"cut off", ns[:len(ns)-4], "ignored"},
		{"option of no length", strings.Replace(ns, "0101", "0100", 1), "ignored"},
		{"nothing", "", "ignored"},
	} {
		t.Run(row.name, func(t *testing.T) {
			frame, read := unhex(t, row.frame), readARP
			if strings.HasPrefix(row.frame, "6") {
				read = readNDP
				if row.name == "option of no length" { // for its own sake, not the checksum's
					frame[headerIPv6+2], frame[headerIPv6+3] = 0, 0
					sum := checksum(frame)
					frame[headerIPv6+2], frame[headerIPv6+3] = byte(sum>>8), byte(sum)
				}
			}
			if got := text(read(frame)); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// What is written is read as what it says, whoever is told.
func TestWrite(t *testing.T) {
	for _, row := range []struct{ name, target, to, want string }{
		{"ARP, to somebody", "172.30.0.192", "172.30.0.9", "172.30.0.192 (02:00:00:00:00:01) says 172.30.0.192 to 02:00:00:00:00:02"},
		{"ARP, to a probe", "172.30.0.192", "0.0.0.0", "172.30.0.192 (02:00:00:00:00:01) says 172.30.0.192 to 02:00:00:00:00:02"},
		{"ARP, to all", "172.30.0.192", "", "172.30.0.192 (02:00:00:00:00:01) says 172.30.0.192 to ff:ff:ff:ff:ff:ff"},
		{"NDP, to somebody", "fd00:172:30::f000", "fd00:172:30::9", "fd00:172:30::f000 (02:00:00:00:00:01) says fd00:172:30::f000 to 02:00:00:00:00:02"},
		{"NDP, to a probe", "fd00:172:30::f000", "::", "fd00:172:30::f000 (02:00:00:00:00:01) says fd00:172:30::f000 to 33:33:00:00:00:01"},
		{"NDP, to all", "fd00:172:30::f000", "", "fd00:172:30::f000 (02:00:00:00:00:01) says fd00:172:30::f000 to 33:33:00:00:00:01"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var to message
			if row.to != "" {
				to = message{Station: them, From: netip.MustParseAddr(row.to)}
			}
			target := netip.MustParseAddr(row.target)
			write, read := arp, readARP
			if target.Is6() {
				write, read = advertisement, readNDP
			}
			frame, at := write(target, us, to)
			if got := text(read(frame)) + " to " + at.String(); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	frame, _ := advertisement(netip.MustParseAddr("fd00::1"), us, message{})
	f.Add(frame)
	frame, _ = arp(netip.MustParseAddr("10.0.0.1"), us, message{})
	f.Add(frame)
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, ok := readARP(p); ok && !m.Target.Is4() {
			t.Errorf("ARP about %s", m.Target)
		}
		if m, ok := readNDP(p); ok && !m.Target.Is6() {
			t.Errorf("NDP about %s", m.Target)
		}
	})
}
