package probes

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// askGRPC asks a server by the gRPC health protocol.
func askGRPC(ctx context.Context, addr, service string, timeout time.Duration) answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithUserAgent(userAgent),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer().DialContext(ctx, "tcp", addr)
		}))
	if err != nil {
		return answer{failed, fmt.Sprintf("error: failed to connect service at %q: %+v", addr, err)}
	}
	defer func() { _ = conn.Close() }() // nothing is left to lose
	if err := connect(ctx, conn); err != nil {
		return answer{failed, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", addr, timeout, err)}
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		switch s := status.Convert(err); s.Code() {
		case codes.Unimplemented:
			return answer{failed, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", s.Message())}
		case codes.DeadlineExceeded:
			return answer{failed, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)}
		default:
			return answer{failed, fmt.Sprintf("error: health rpc probe failed: %+v", err)}
		}
	}
	if s := resp.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
		return answer{failed, fmt.Sprintf("service unhealthy (responded with %q)", s.String())}
	}
	return answer{outcome: passed}
}

// connect waits until the connection stands or ctx ends.
func connect(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		conn.Connect()
		state := conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		if !conn.WaitForStateChange(ctx, state) {
			return ctx.Err()
		}
	}
}
