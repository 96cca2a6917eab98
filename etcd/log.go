package etcd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// checkLogs finds files of the write-ahead log below dir that cannot have been written by etcd. It
// gives a new file its name only when the first records are on the disk, so a file without them is
// damage and no crash; etcd itself takes it for a torn write and cuts it to nothing. Begun tells
// whether the log has entries, of which it reads the first.
func checkLogs(dir string) (begun bool, err error) {
	err = eachLog(dir, func(file string, decoder wal.Decoder) error {
		record := &walpb.Record{}
		for _, want := range []int64{wal.CrcType, wal.MetadataType} {
			if err := decodeLog(file, decoder, record); err != nil {
				return err
			}
			if record.GetType() != want {
				return fmt.Errorf("%s is damaged: it does not begin as a log of etcd does", file)
			}
			if want == wal.CrcType {
				decoder.UpdateCRC(record.GetCrc()) // of the files before, which this one continues
			}
		}
		for !begun && decodeLog(file, decoder, record) == nil {
			begun = record.GetType() == wal.EntryType
		}
		return nil
	})
	return begun, err
}

// lastEntry reads the whole log and returns the index of its last entry, or names the file that
// cannot be read. A log that ends in a torn write is fine: nobody was told of that write. But a length
// that is damaged looks like a torn write too, and etcd would cut off the log there without a word;
// whether that is so, the caller knows from what the database has.
func lastEntry(dir string) (index uint64, err error) {
	var last []byte
	err = eachLog(dir, func(file string, decoder wal.Decoder) error {
		for {
			record := &walpb.Record{}
			err := decodeLog(file, decoder, record)
			switch {
			case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
				return nil
			case err != nil:
				return err
			case record.GetType() == wal.CrcType:
				decoder.UpdateCRC(record.GetCrc()) // of the files before, which this one continues
			case record.GetType() == wal.EntryType:
				last = record.GetData()
			}
		}
	})
	if err != nil {
		return 0, err
	}
	var entry raftpb.Entry
	if err := proto.Unmarshal(last, &entry); err != nil {
		return 0, fmt.Errorf("the last entry of the log is damaged: %w", err)
	}
	return entry.GetIndex(), nil
}

// logs are the files of the log below dir, in their order.
func logs(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal")) // the pattern is good
	return files
}

func eachLog(dir string, do func(file string, decoder wal.Decoder) error) error {
	for _, file := range logs(dir) {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = do(file, wal.NewDecoder(fileutil.NewFileReader(f)))
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeLog(file string, decoder wal.Decoder, record *walpb.Record) (err error) {
	defer func() {
		if p := recover(); p != nil { // a length that is negative
			err = fmt.Errorf("%s is damaged: %v", file, p)
		}
	}()
	if err := decoder.Decode(record); err != nil {
		return fmt.Errorf("%s is damaged: %w", file, err)
	}
	return nil
}
