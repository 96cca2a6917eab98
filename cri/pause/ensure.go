package pause

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// namespace is containerd's for what belongs to CRI.
const namespace = "k8s.io"

// Ensure makes sure that the containerd behind the socket (a path) has the image that it is
// configured to begin every Pod with: if it has none of that name it gets ours, without a registry.
// Another runtime than containerd is left to pull its own.
func Ensure(ctx context.Context, socket string) error {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", socket, err)
	}
	defer func() { _ = conn.Close() }()
	name, err := wanted(ctx, conn)
	if err != nil || name == "" {
		return err
	}
	there, err := has(ctx, conn, name)
	if err != nil || there {
		return err
	}
	if err := load(metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace), conn, name); err != nil {
		return fmt.Errorf("load image %s into containerd: %w", name, err)
	}
	// CRI learns of it by an event of containerd's, a moment later, and says so to nobody.
	if err := until(ctx, func() (bool, error) { return has(ctx, conn, name) }); err != nil {
		return fmt.Errorf("load image %s into containerd: %w", name, err)
	}
	return nil
}

// until asks again and again; it is for what takes a few milliseconds and tells nobody when.
func until(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// starting tells whether containerd serves already, but CRI in it is still looking at what there is.
func starting(err error) bool {
	return status.Code(err) == codes.Unavailable || strings.Contains(status.Convert(err).Message(), "server is not initialized yet")
}

// wanted returns the name of the image that the runtime begins Pods with, "" if it does not say.
func wanted(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	client := cri.NewRuntimeServiceClient(conn)
	var answer *cri.StatusResponse
	err := until(ctx, func() (ok bool, err error) {
		answer, err = client.Status(ctx, &cri.StatusRequest{Verbose: true}, grpc.WaitForReady(true))
		if starting(err) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return "", fmt.Errorf("ask the runtime for its configuration: %w", err)
	}
	var config struct {
		Image      string `json:"sandboxImage"`
		Containerd struct {
			Snapshotter string `json:"snapshotter"`
		} `json:"containerd"`
	}
	if err := json.Unmarshal([]byte(answer.GetInfo()["config"]), &config); err != nil || config.Containerd.Snapshotter == "" {
		return "", nil //nolint:nilerr // not containerd
	}
	return config.Image, nil
}

func has(ctx context.Context, conn *grpc.ClientConn, name string) (bool, error) {
	answer, err := cri.NewImageServiceClient(conn).ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return false, fmt.Errorf("ask the runtime for image %s: %w", name, err)
	}
	return answer.GetImage() != nil, nil
}

// load writes the pieces of the image and then its name.
func load(ctx context.Context, conn *grpc.ClientConn, name string) error {
	image, err := newImage(runtime.GOARCH)
	if err != nil {
		return err
	}
	for _, b := range []blob{image.layer, image.config, image.manifest} {
		if err := write(ctx, conn, b, image); err != nil {
			return err
		}
	}
	target := &types.Descriptor{MediaType: image.manifest.Type, Digest: image.manifest.Digest, Size: int64(image.manifest.Size)}
	_, err = images.NewImagesClient(conn).Create(ctx, &images.CreateImageRequest{Image: &images.Image{Name: name, Target: target}})
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// write stores one piece. The labels tell containerd's garbage collector what hangs on what; until
// the image has its name, the pieces hold themselves.
func write(ctx context.Context, conn *grpc.ClientConn, b blob, of image) error {
	labels := map[string]string{"containerd.io/gc.root": "pause"}
	if b.Digest == of.manifest.Digest {
		labels["containerd.io/gc.ref.content.config"] = of.config.Digest
		labels["containerd.io/gc.ref.content.l.0"] = of.layer.Digest
	}
	stream, err := content.NewContentClient(conn).Write(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&content.WriteContentRequest{
		Action: content.WriteAction_COMMIT, Ref: "duet-pause-" + b.Digest, Total: int64(b.Size), Expected: b.Digest, Data: b.data, Labels: labels,
	})
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil && status.Code(err) != codes.AlreadyExists {
		return fmt.Errorf("write %s: %w", b.Type, err)
	}
	return stream.CloseSend()
}
