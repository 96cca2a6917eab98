// Command peer is both ends of the connections that the traffic tests make: it answers who it is and
// whom it sees, and it asks others. It runs in Pods, in the namespaces of nodes and outside of them.
//
//	peer serve NAME PORT ADDRESS,…     answer on TCP, UDP and SCTP at each of the addresses
//	peer probe [-dns ADDRESS]          read lines "tcp4 10.96.0.7:80", print each with the answer to it
//	peer load tcp4 10.96.0.7:80 …      ask without a pause until the input ends, print what happened
//	peer hold tcp4 10.96.0.7:80 …      the same, each on one connection
//
// An answer is the server's name and the source that it saw: "p0 10.244.0.5". Where there is none it
// is refused (reset, or ICMP says so), timeout, noroute or noname; or the error itself.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fatal(errors.New("usage: peer serve|probe|load|hold …"))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	dns := flags.String("dns", "", "name server to ask instead of the system's")
	until := flags.String("until", "", "a file: serve on, when asked to end, until it exists")
	flags.DurationVar(&slow, "patience", 10*time.Second, "how long load and hold wait for an answer")
	_ = flags.Parse(os.Args[2:])
	if *dns != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(*dns, "53"))
		}}
	}
	args := flags.Args()
	switch os.Args[1] {
	case "serve":
		fatal(run(args, *until))
	case "probe":
		probe()
	case "load":
		ask(args, once)
	case "hold":
		ask(args, hold)
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until SIGTERM, and on until its clients have gone elsewhere, which somebody else has to
// tell it by a file.
func run(args []string, until string) error {
	name, port := args[0], args[1]
	for address := range strings.SplitSeq(args[2], ",") {
		if err := serve(name, address, port); err != nil {
			return err
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	for until != "" {
		if _, err := os.Stat(until); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

func serve(name, address, port string) error {
	at := net.JoinHostPort(address, port)
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				fatal(err)
			}
			go answer(name, c)
		}
	}()
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := packets.ReadFrom(b)
			if err != nil {
				continue // the last answer came back as an ICMP error
			}
			_, _ = io.WriteString(writer{packets, from}, line(name, from))
		}
	}()
	return serveSCTP(name, address, port)
}

// answer each line of a connection until the client ends it.
func answer(name string, c net.Conn) {
	defer c.Close()
	for s := bufio.NewScanner(c); s.Scan(); {
		if _, err := io.WriteString(c, line(name, c.RemoteAddr())); err != nil {
			return
		}
	}
}

// line is "p0 10.244.0.5\n".
func line(name string, from net.Addr) string {
	host, _, _ := net.SplitHostPort(from.String())
	return name + " " + host + "\n"
}

type writer struct {
	net.PacketConn
	to net.Addr
}

func (w writer) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

const (
	tries   = 3
	patient = 900 * time.Millisecond
	atOnce  = 32
)

// probe asks for each line of its input and prints the lines with answers, in no order.
func probe() {
	lines := make(chan string)
	var workers sync.WaitGroup
	var mu sync.Mutex
	for range atOnce {
		workers.Go(func() {
			for text := range lines {
				network, at, _ := strings.Cut(text, " ")
				said := insist(network, at)
				mu.Lock()
				fmt.Println(text, said)
				mu.Unlock()
			}
		})
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		lines <- in.Text()
	}
	close(lines)
	workers.Wait()
}

// insist asks again if there is no answer: packets may be lost, and the kernel says only a few times
// a second that nobody is there. TCP does so by itself.
func insist(network, at string) string {
	n, wait := tries, patient
	if strings.HasPrefix(network, "tcp") {
		n, wait = 1, tries*patient
	}
	for {
		said := say(call(network, at, wait))
		if n--; n == 0 || said != "timeout" {
			return said
		}
	}
}

// call makes one request.
func call(network, at string, wait time.Duration) (string, error) {
	if family, ok := strings.CutPrefix(network, "sctp"); ok {
		return callSCTP(family, at, wait)
	}
	c, err := net.DialTimeout(network, at, wait)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return exchange(c, wait)
}

// resend is how long a client of UDP waits before it asks again.
const resend = time.Second

// exchange a line on a connection. Over UDP it asks again on the same socket, as clients have to: a
// packet may be lost, but not all of them. EPERM says that the node itself let the packet vanish;
// whether it tells the sender more than that comes next.
func exchange(c net.Conn, wait time.Duration) (string, error) {
	_, packets := c.(*net.UDPConn)
	b := make([]byte, 200)
	for end := time.Now().Add(wait); ; {
		try := end
		if again := time.Now().Add(resend); packets && again.Before(end) {
			try = again
		}
		if err := c.SetDeadline(try); err != nil {
			return "", err
		}
		if _, err := io.WriteString(c, "who\n"); err != nil && !errors.Is(err, syscall.EPERM) {
			return "", err
		}
		n, err := c.Read(b)
		if err == nil || try.Equal(end) || !errors.Is(err, os.ErrDeadlineExceeded) {
			return strings.TrimSpace(string(b[:n])), err
		}
	}
}

// say puts what came of a request into a word.
func say(answer string, err error) string {
	var slow net.Error
	var unknown *net.DNSError
	switch {
	case err == nil:
		return answer
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return "noname"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "noroute"
	case errors.Is(err, syscall.EAGAIN), errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}
