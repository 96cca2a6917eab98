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

// lastEntry returns the index of the last entry of the write-ahead log below dir, 0 if there is
// none, or names the last file if it cannot be read.
//
// The files before the last are not read: they end where the next begins, so etcd, which reads them
// all as it starts, sees what is missing and refuses it. Where the last one is to end nobody has
// noted: etcd takes a length that is damaged for a torn write and cuts off the log there, without a
// word. Whether that would be so, the caller knows from what the database has.
func lastEntry(dir string) (index uint64, err error) {
	files := logs(dir)
	if len(files) == 0 {
		return 0, nil
	}
	return readLog(files[len(files)-1])
}

// damagedLog names the first file of the log below dir that cannot be read up to where the next one
// begins. Etcd, when it refuses one, does not.
func damagedLog(dir string) error {
	files := logs(dir)
	for i, file := range files {
		last, err := readLog(file)
		if err != nil {
			return err
		}
		if i+1 < len(files) && last != before(files[i+1]) {
			return fmt.Errorf("%s is damaged: it can be read up to entry %d, and should go on to %d", file, last, before(files[i+1]))
		}
	}
	return nil
}

// logs are the files of the log below dir, in their order.
func logs(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal")) // the pattern is good
	return files
}

// before returns the index of the entry that a file of the log comes after, 0 for the first file: its
// name is 000000000000000N-INDEX.wal, with the index of its first entry.
func before(file string) uint64 {
	var number, first uint64
	_, _ = fmt.Sscanf(filepath.Base(file), "%x-%x.wal", &number, &first)
	return max(first, 1) - 1
}

// readLog reads one file of the log and returns the index of the last entry in it or before it. It
// may end in a torn write: nobody was told of that write. But it begins with records that were on
// the disk before etcd gave it its name; without them it is damaged, while etcd would take that
// for a torn write too, and cut it to nothing.
//
// A record's checksum is of its data alone. Whether their types are good is seen from the number of
// entries: nobody writes one again in the log of an only member, as the members of a cluster may.
func readLog(file string) (last uint64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	decoder, record := wal.NewDecoder(fileutil.NewFileReader(f)), &walpb.Record{}
	for _, want := range []int64{wal.CrcType, wal.MetadataType} {
		if err := decoder.Decode(record); err != nil || record.GetType() != want {
			return 0, fmt.Errorf("%s is damaged: it does not begin as a log of etcd does", file)
		}
		if want == wal.CrcType {
			decoder.UpdateCRC(record.GetCrc()) // of the files before, which this one continues
		}
	}
	var entry []byte
	for last = before(file); ; {
		err := decoder.Decode(record)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return last, checkIndex(file, entry, last)
		case err != nil && last == 0:
			return 0, nil // a first start that was cut short
		case err != nil:
			return 0, fmt.Errorf("%s is damaged: %w", file, err)
		}
		switch record.GetType() {
		case wal.StateType, wal.SnapshotType:
		case wal.EntryType:
			last, entry = last+1, record.GetData()
		default:
			return 0, fmt.Errorf("%s is damaged: it has a record of type %d after entry %d", file, record.GetType(), last)
		}
	}
}

// checkIndex compares what the last entry of a file, if there is one, says of its index with the count
// of entries.
func checkIndex(file string, data []byte, want uint64) error {
	var entry raftpb.Entry
	if err := proto.Unmarshal(data, &entry); err != nil || data != nil && entry.GetIndex() != want {
		return fmt.Errorf("%s is damaged: its last entry should be %d and is %d", file, want, entry.GetIndex())
	}
	return nil
}
