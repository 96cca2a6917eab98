// Package assemble wires the components of a control plane together.
package assemble

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// ServerConfig says what a control plane is to be.
type ServerConfig struct {
	DataDir                               string
	ServiceCIDRs, PodCIDRs                []netip.Prefix
	NodePorts                             string
	Listeners                             []net.Listener
	Advertise                             []netip.Addr
	SANs                                  []string
	EtcdServers                           []string
	EtcdCAFile, EtcdCertFile, EtcdKeyFile string
	AllowExternalIPs                      bool
	Ready                                 func()
}

// Server runs the control plane until ctx ends.
func Server(context.Context, ServerConfig) error {
	return errors.New("no control plane in this build")
}
