package transport

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// FuzzFrames has whatever bytes come from the network be read as frames of messages and of chunks: without a panic, and
// without more memory than what arrived.
func FuzzFrames(f *testing.F) {
	batch := pb.MessageBatch{Requests: []pb.Message{{Type: pb.Heartbeat, To: 1, From: 2, Entries: []pb.Entry{{Cmd: []byte("x")}}}}}
	f.Add(frame(pb.MustMarshal(&batch)))
	f.Add(frame(pb.MustMarshal(&pb.Chunk{ChunkId: 3, Data: []byte("y")})))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := &Transport{}
		sink := &raft{transport: tr, messages: func(pb.MessageBatch) {}, chunks: func(pb.Chunk) bool { return true }}
		for _, in := range [][]byte{b, frame(b)} { // as they are, and as the payload of a frame whose checksum holds
			if tr.readMessages(sink, bytes.NewReader(in)) == nil || tr.readChunks(sink, bytes.NewReader(in)) == nil {
				t.Error("a stream ended without an error")
			}
		}
	})
}

func frame(payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}
