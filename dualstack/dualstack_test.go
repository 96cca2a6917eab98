package dualstack

import (
	"net/netip"
	"slices"
	"testing"
)

func TestFamily(t *testing.T) {
	for _, tt := range []struct {
		addr        string
		want, other Family
		bits        int
	}{
		{"10.96.0.1", IPv4, IPv6, 32},
		{"fd00::1", IPv6, IPv4, 128},
		{"::ffff:10.0.0.1", IPv4, IPv6, 32},
		{"::", IPv6, IPv4, 128},
	} {
		got := Of(netip.MustParseAddr(tt.addr))
		if got != tt.want || got.Other() != tt.other || got.Bits() != tt.bits {
			t.Errorf("%s: got %s, other %s, %d bits", tt.addr, got, got.Other(), got.Bits())
		}
	}
	if got := Of(netip.Addr{}); got != "" {
		t.Errorf("the invalid address is of family %q", got)
	}
}

// B4.1, B4.7: what the flag of service ranges accepts, and what it says otherwise.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ list, want, err string }{
		{list: "10.96.0.0/16", want: "10.96.0.0/16"},
		{list: "10.96.0.0/16,fd00:10:96::/112", want: "10.96.0.0/16,fd00:10:96::/112"},
		{list: "fd00:10:96::/112, 10.96.0.0/16", want: "fd00:10:96::/112,10.96.0.0/16"},
		{list: "10.0.0.5/24", want: "10.0.0.0/24"},
		{list: "fd00::/8", want: "fd00::/8"},
		{list: " ", err: "--service-cidr must not be empty: give one prefix or two, for example 10.96.0.0/16,fd00:10:96::/112"},
		{list: "10.0.0.0/24,fd00::/64,10.1.0.0/24", err: "--service-cidr must not contain more than two entries: it has 3, give one for each IP family"},
		{list: "10.0.0.0/24,10.1.0.0/24", err: "--service-cidr[0] and --service-cidr[1] must be of different IP family: 10.0.0.0/24,10.1.0.0/24 are both IPv4"},
		{list: "10.0.0.0", err: `service-cidr[0] is not a valid cidr: "10.0.0.0": write it as 10.96.0.0/16 or fd00:10:96::/112`},
		{list: "10.0.0.0/24,x", err: `service-cidr[1] is not an ip net: "x": write it as 10.96.0.0/16 or fd00:10:96::/112`},
		{list: "::ffff:10.0.0.0/120", err: `service-cidr[0] is not a valid cidr: "::ffff:10.0.0.0/120": write an IPv4-mapped prefix as plain IPv4`},
		{list: "010.0.0.0/24", err: `service-cidr[0] is not a valid cidr: "010.0.0.0/24": write it as 10.96.0.0/16 or fd00:10:96::/112`},
	} {
		t.Run(tt.list, func(t *testing.T) {
			got, err := Parse("--service-cidr", tt.list)
			if err != nil {
				if err.Error() != tt.err {
					t.Errorf("error\n%s\nwant\n%s", err, tt.err)
				}
				return
			}
			if tt.err != "" || Join(got) != tt.want {
				t.Errorf("got %s, want %s %s", Join(got), tt.want, tt.err)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	prefixes, err := Parse("--service-cidr", "fd00::/64,10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Order(prefixes), []Family{IPv6, IPv4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPair(t *testing.T) {
	var p Pair[int]
	*p.At(IPv6) = 6
	*p.At(IPv4) = 4
	var families []Family
	var values []int
	for f, v := range p.All() {
		families, values = append(families, f), append(values, *v)
	}
	if !slices.Equal(families, []Family{IPv4, IPv6}) || !slices.Equal(values, []int{4, 6}) {
		t.Errorf("got %v %v", families, values)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10.96.0.0/16,fd00:10:96::/112")
	f.Add("10.0.0.0/24,10.1.0.0/24")
	f.Add(",")
	f.Fuzz(func(t *testing.T, list string) {
		prefixes, err := Parse("--service-cidr", list)
		if err != nil {
			return
		}
		again, err := Parse("--service-cidr", Join(prefixes))
		if err != nil || !slices.Equal(prefixes, again) {
			t.Fatalf("%q reads as %v, which reads as %v (%v)", list, prefixes, again, err)
		}
	})
}
