package cri

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a call that failed.
type Error struct {
	// Call is CRI's name of what was asked, Subject of which sandbox, container or image.
	Call, Subject string
	Code          codes.Code
	// Message is the runtime's own, without decoration.
	Message string
	cause   error
}

func (e *Error) Error() string {
	if e.Subject == "" {
		return fmt.Sprintf("%s: %s", e.Call, e.text())
	}
	return fmt.Sprintf("%s %s: %s", e.Call, e.Subject, e.text())
}

func (e *Error) text() string { return e.cause.Error() }

// Unwrap gives gRPC's error, whose text is "rpc error: code = … desc = …".
func (e *Error) Unwrap() error { return e.cause }

// failed wraps the error of a call; nil stays nil.
func failed(call, subject string, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	return &Error{Call: call, Subject: subject, Code: s.Code(), Message: s.Message(), cause: err}
}

// Cause is the error as the runtime gave it, in the form that events and statuses show:
// "rpc error: code = NotFound desc = …".
func Cause(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.cause
	}
	return err
}

// Message is the runtime's own text of an error.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return err.Error()
}

func code(err error) codes.Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return status.Code(err)
}

// IsNotFound tells whether the runtime does not have what was asked for.
func IsNotFound(err error) bool { return err != nil && code(err) == codes.NotFound }

// IsUnavailable tells whether the runtime could not be asked: the call may be made again when it is
// back, and may or may not have had its effect.
func IsUnavailable(err error) bool {
	return err != nil && (code(err) == codes.Unavailable || isNotYet(err))
}

// IsCanceled tells whether the caller's context ended the call.
func IsCanceled(err error) bool {
	return err != nil && (code(err) == codes.Canceled || code(err) == codes.DeadlineExceeded)
}

// isNotYet: the runtime is starting. containerd answers `unknown service runtime.v1.RuntimeService`
// before its CRI plugin is loaded and `server is not initialized yet` before that has recovered.
func isNotYet(err error) bool {
	return code(err) == codes.Unimplemented && strings.Contains(err.Error(), "unknown service") ||
		strings.Contains(err.Error(), "server is not initialized yet")
}
