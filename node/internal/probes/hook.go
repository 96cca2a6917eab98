package probes

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Hook runs a container's postStart or preStop handler and waits for it. Only ctx ends it early:
// how long a hook may take is for the Pod's grace period to say. A postStart hook that fails means
// that the container is to be killed, with the error as the reason.
func (p *Prober) Hook(ctx context.Context, t Target, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		return p.hookExec(ctx, t, h.Exec.Command)
	case h.HTTPGet != nil:
		return hookHTTP(ctx, t, h.HTTPGet)
	case h.Sleep != nil:
		timer := p.cfg.Clock.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("cannot run handler: %v", h)
}

func (p *Prober) hookExec(ctx context.Context, t Target, command []string) error {
	output, code, err := p.cfg.Exec(ctx, t.ContainerID, command, 0)
	if err == nil && code != 0 {
		err = fmt.Errorf("command '%s' exited with %d: %s", strings.Join(command, " "), code, output[:min(len(output), maxOutput)])
	}
	if err != nil {
		return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %w, message: %q", //nolint:staticcheck // the text users know
			command, t.Container.Name, t.id(), err, output[:min(len(output), maxOutput)])
	}
	return nil
}

// hookHTTP makes one request. Any answer will do, whatever its status.
func hookHTTP(ctx context.Context, t Target, action *corev1.HTTPGetAction) error {
	req, err := t.request(ctx, action)
	if err == nil {
		client := httpClient(0)
		defer client.CloseIdleConnections()
		res, doErr := client.Do(req)
		if err = doErr; err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(res.Body, maxOutput))
			res.Body.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", action.Path, t.Container.Name, t.id(), err)
	}
	return nil
}
