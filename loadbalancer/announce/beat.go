package announce

import (
	"bytes"
	"encoding/binary"
	"time"
)

// beat is a node's sign of life to the others on the link.
type beat struct {
	// Cluster tells clusters on one link apart.
	Cluster [8]byte
	Node    string
	// Hello: the node has just come and asks everybody for a beat.
	Hello bool
	// Up is for how long it has been there, Silence how long ago it heard from the API server.
	Up, Silence time.Duration
}

// On the wire: "duet", version 1, flags, cluster, two times in milliseconds, length and name of the
// node; what follows is padding.
const (
	beatMagic        = "duet\x01"
	beatHead         = len(beatMagic) + 1 + 8 + 4 + 4 + 1
	flagHello   byte = 1
	maxTime          = time.Duration(1<<32-1) * time.Millisecond
	maxNameSize      = 253
)

func (b beat) encode() []byte {
	out := append(make([]byte, 0, beatHead+len(b.Node)), beatMagic...)
	var flags byte
	if b.Hello {
		flags |= flagHello
	}
	out = append(append(out, flags), b.Cluster[:]...)
	for _, d := range []time.Duration{b.Up, b.Silence} {
		out = binary.BigEndian.AppendUint32(out, uint32(min(max(d, 0), maxTime)/time.Millisecond)) //nolint:gosec // limited
	}
	out = append(out, byte(len(b.Node)))
	return append(out, b.Node...)
}

func decode(p []byte) (b beat, ok bool) {
	if len(p) < beatHead || !bytes.HasPrefix(p, []byte(beatMagic)) {
		return b, false
	}
	p = p[len(beatMagic):]
	b.Hello = p[0]&flagHello != 0
	b.Cluster = [8]byte(p[1:9])
	b.Up = time.Duration(binary.BigEndian.Uint32(p[9:])) * time.Millisecond
	b.Silence = time.Duration(binary.BigEndian.Uint32(p[13:])) * time.Millisecond
	size := int(p[17])
	if p = p[18:]; size == 0 || size > maxNameSize || len(p) < size {
		return b, false
	}
	b.Node = string(p[:size])
	return b, true
}
