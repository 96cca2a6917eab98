package lab

import (
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/test/sandbox"
)

const envServer = "DUET_TEST_SERVER" // set for the fake server: what it does

// TestMain runs the tests in a sandbox, and what they have the lab start, which is this program, too.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "server":
		fakeServer(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "box":
		playBox(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "node":
		fakeNode(os.Args[2:])
	default:
		os.Exit(sandbox.Main(m))
	}
}

// fakeServer keeps the promises of `duet server` to package lab and serves /readyz, nothing else.
func fakeServer(args []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	dir := flags.String("data-dir", "", "")
	listen := flags.String("listen", "", "")
	listenFD, readyFD, lockFD := flags.Uint("listen-fd", 0, ""), flags.Uint("ready-fd", 0, ""), flags.Uint("lock-fd", 0, "")
	name := flags.String("name", "", "")
	for _, name := range []string{"service-cidr", "pod-cidr", "advertise", "load-balancer-pool", "resolv-conf", "resolv-netns-fd"} {
		flags.String(name, "", "")
	}
	_ = flags.Parse(args)
	if fd := flags.Lookup("resolv-netns-fd").Value.String(); fd != "" { // of the host, where this process is not
		own, host := must2(os.Readlink("/proc/self/ns/net")), must2(os.Readlink("/proc/self/fd/"+fd))
		if !strings.HasPrefix(host, "net:") || host == own {
			panic("the host's network is " + host + ", ours " + own)
		}
	}
	ready := os.NewFile(uintptr(*readyFD), "ready")
	switch os.Getenv(envServer) {
	case "refuse":
		fmt.Fprint(ready, "the disk is full")
		os.Exit(1)
	case "die":
		fmt.Fprintln(os.Stderr, "first line\npanic: oh no\n\ngoroutine 1 [running]:")
		os.Exit(1)
	case "hang":
		select {}
	default:
		defer signalled()
	}
	if _, err := AdoptLock(uintptr(*lockFD)); err != nil {
		panic(err)
	}
	outer, err := net.FileListener(os.NewFile(uintptr(*listenFD), "listen"))
	if err != nil {
		panic(err)
	}
	inner, err := net.Listen("tcp", *listen)
	if err != nil {
		panic(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
	go func() { _ = http.Serve(inner, hello) }()
	server := httptest.NewUnstartedServer(hello)
	server.Listener.Close()
	server.Listener = outer
	server.StartTLS()
	must(os.MkdirAll(filepath.Join(*dir, "pki"), 0o700))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	must(os.WriteFile(filepath.Join(*dir, "pki", "ca.crt"), ca, 0o600))
	must(os.WriteFile(AdminKubeconfig(*dir), []byte(*name), 0o600))
	must(os.WriteFile(filepath.Join(*dir, "args"), []byte(strings.Join(args, "\n")), 0o600))
	fmt.Fprint(ready, Ready)
	ready.Close()
}

// signalled returns after SIGTERM.
func signalled() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTERM)
	<-c
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must2[T any](v T, err error) T {
	must(err)
	return v
}
