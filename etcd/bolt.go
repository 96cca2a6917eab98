package etcd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

var errInUse = errors.New("another process has it open")

// checkBolt opens the database read-only: bolt checks both meta pages' magic and checksum. Written
// tells whether etcd has put a key into it, applied is the index of the last entry of the log in it.
func checkBolt(path string, size int64) (written bool, applied uint64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	if size == 0 {
		return false, 0, fmt.Errorf("it is empty")
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return false, 0, errInUse
	}
	if err != nil {
		return false, 0, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > size { // pages that are not there would fault
			return fmt.Errorf("it has %d bytes of %d", size, tx.Size())
		}
		keys := tx.Bucket([]byte("key"))
		written = keys != nil && !isEmpty(keys)
		if meta := tx.Bucket([]byte("meta")); meta != nil {
			if index := meta.Get([]byte("consistent_index")); len(index) == 8 {
				applied = binary.BigEndian.Uint64(index)
			}
		}
		return nil
	})
	return written, applied, errors.Join(err, db.Close())
}

func isEmpty(b *bbolt.Bucket) bool {
	key, _ := b.Cursor().First()
	return key == nil
}
