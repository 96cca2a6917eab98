// Package definitions is filled by run.sh, with Go code that stays out of git. This file is here so
// that `go mod tidy`, which looks at every build tag, finds the package at all times.
package definitions
