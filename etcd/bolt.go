package etcd

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var errInUse = errors.New("another process has it open")

// checkBolt opens the database read-only: bolt checks both meta pages' magic and checksum.
func checkBolt(path string, size int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if size == 0 {
		return fmt.Errorf("it is empty")
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return errInUse
	}
	if err != nil {
		return err
	}
	return db.Close()
}
