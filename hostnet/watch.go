package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch calls changed after every change of a link, an address or a route, and once at the beginning,
// until ctx ends. Whoever is called looks for himself what has changed: when changes come faster than
// they are taken the kernel drops the messages, which counts as one change.
func Watch(ctx context.Context, changed func()) error {
	return watch(ctx, changed, append(slices.Clone(links), unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE))
}

// WatchLinks is [Watch] without routes.
func WatchLinks(ctx context.Context, changed func()) error { return watch(ctx, changed, links) }

// The groups of messages about links and addresses.
var links = []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR}

func watch(ctx context.Context, changed func(), groups []uint) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("subscribe to changes of the network: %w", err)
	}
	closing := sync.OnceFunc(socket.Close)
	defer closing()
	defer context.AfterFunc(ctx, closing)()
	for {
		changed()
		if _, _, err := socket.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("receive changes of the network: %w", err)
		}
	}
}
