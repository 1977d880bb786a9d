package probe

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcall/rollcall/log/event"
)

// grpc asks by the gRPC health checking protocol.
func (p *Prober) grpc(ctx context.Context, check event.GRPCCheck) Result {
	host, wrong := hostOf(check.Address)
	if wrong != "" {
		return critical("address that cannot be read", wrong)
	}
	security := insecure.NewCredentials()
	if check.TLS != nil {
		config, err := tlsConfig(check.TLS, host)
		if err != nil {
			return critical("CA certificates that cannot be read", err.Error())
		}
		security = credentials.NewTLS(config)
	}
	opened := &connections{} // which also know why one failed: the library only says it in words
	defer opened.close()
	conn, err := grpc.NewClient("passthrough:///"+check.Address,
		grpc.WithTransportCredentials(security), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
		grpc.WithMaxHeaderListSize(headerBytesMax), grpc.WithUserAgent(userAgentDefault),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(OutputBytesMax)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := opened.dial(ctx, "tcp", address)
			if err != nil {
				opened.note(err)
			}
			return c, err
		}))
	if err != nil {
		return critical("address that cannot be read", err.Error())
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: check.Service})
	if dialled := opened.noted(); err != nil && dialled != nil && ctx.Err() == nil {
		return failed(ctx, dialled)
	}
	if err != nil {
		return refused(ctx, err)
	}
	r := Result{event.Critical, "gRPC health " + answer.GetStatus().String(), "gRPC health: " + answer.GetStatus().String()}
	if answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
		r.Status = event.Passing
	}
	return r
}

// refused is the result where a call failed.
func refused(ctx context.Context, err error) Result {
	said := status.Convert(err)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || said.Code() == codes.DeadlineExceeded {
		return critical(reasonTimeout, "")
	}
	reason := "gRPC " + said.Code().String()
	switch said.Code() {
	case codes.NotFound:
		reason = "gRPC service unknown"
	case codes.Unimplemented:
		reason = "gRPC health protocol not implemented"
	default: // its name says it
	}
	return critical(reason, reason+": "+said.Message())
}
