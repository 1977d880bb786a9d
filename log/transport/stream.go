package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// A stream is an HTTP/1.1 connection upgraded to "rollcall-raft/1". It carries frames one way, from who dialled: the
// length of the payload (4 bytes, big-endian), its CRC-32C (4 bytes), the payload, which is a message batch or a chunk
// of a snapshot as Dragonboat encodes them.
const (
	protocol      = "rollcall-raft/1"
	pathMessages  = "/raft/messages"
	pathSnapshots = "/raft/snapshots"
	frameHeader   = 8
	frameMax      = 256 << 20 // Dragonboat's batches hold entries of up to 64 MiB together
	sendTimeout   = 5 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stream is a connection that this server dialled. It is used by one goroutine.
type stream struct {
	conn    net.Conn
	ended   chan struct{} // closed when the other end has gone
	dial    func() (*stream, error)
	scratch []byte
}

// watch notices that the other end goes, which never sends anything. A follower says nothing to another one for as long as
// their leader lives; if the other one was restarted meanwhile, the first message into a connection of then, which is a
// request for its vote, would be lost without an error, and an election would take another round for it.
func (s *stream) watch() {
	s.ended = make(chan struct{})
	go func(conn net.Conn, ended chan struct{}) {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn) // whatever ends it, there is nobody any more
	}(s.conn, s.ended)
}

// renew dials again where the other end has gone.
func (s *stream) renew() error {
	select {
	case <-s.ended:
	default:
		return nil
	}
	again, err := s.dial()
	if err != nil {
		return err
	}
	_ = s.conn.Close() // nobody is at its other end
	s.conn, s.ended = again.conn, again.ended
	return nil
}

// dial makes a connection to another server and upgrades it.
func (t *Transport) dial(ctx context.Context, target, path string) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	if err := t.ask(ctx, conn, target, path); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &stream{conn: conn, dial: func() (*stream, error) { return t.dial(context.Background(), target, path) }}
	s.watch()
	return s, nil
}

func (t *Transport) ask(ctx context.Context, conn net.Conn, target, path string) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+target+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", protocol)
	request.Header.Set(headerFrom, t.config.Name)
	request.Header.Set(headerCluster, t.Cluster())
	if err := request.Write(conn); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // what has arrived is good enough for a log
		return fmt.Errorf("%s does not take Raft's messages: %s: %s", target, response.Status, why)
	}
	return conn.SetDeadline(time.Time{})
}

// Close implements raftio.IConnection.
func (s *stream) Close() { _ = s.conn.Close() } // the other end notices; nothing here depends on it

// SendMessageBatch implements raftio.IConnection.
func (s *stream) SendMessageBatch(batch pb.MessageBatch) error {
	if err := s.renew(); err != nil {
		return err
	}
	return s.send(&batch)
}

// SendChunk implements raftio.ISnapshotConnection.
func (s *stream) SendChunk(chunk pb.Chunk) error { return s.send(&chunk) }

// message is what Dragonboat's messages have in common.
type message interface {
	Size() int
	MarshalTo(b []byte) (int, error)
}

func (s *stream) send(m message) error {
	need := frameHeader + m.Size()
	if cap(s.scratch) < need {
		s.scratch = make([]byte, need)
	}
	b := s.scratch[:need]
	n, err := m.MarshalTo(b[frameHeader:])
	if err != nil {
		return err
	}
	if n > frameMax {
		return fmt.Errorf("a message of %d bytes; at most %d are sent", n, frameMax)
	}
	b = b[:frameHeader+n]
	binary.BigEndian.PutUint32(b, uint32(n))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[frameHeader:], castagnoli))
	// A server that is paused takes nothing: whoever sends to it must not wait for ever.
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = s.conn.Write(b)
	if cap(s.scratch) > scratchMax {
		s.scratch = nil
	}
	return err
}

const scratchMax = 1 << 20 // what a stream keeps between messages

// upgrade turns a request into a stream and has it read, until it ends.
func (t *Transport) upgrade(w http.ResponseWriter, r *http.Request, read func(*raft, io.Reader) error) {
	if r.Header.Get("Upgrade") != protocol {
		http.Error(w, "this path takes Raft's messages: Upgrade: "+protocol, http.StatusUpgradeRequired)
		return
	}
	if theirs := r.Header.Get(headerCluster); theirs == "" || theirs != t.Cluster() {
		http.Error(w, fmt.Sprintf("this server belongs to cluster %q and %q to %q", t.Cluster(), r.Header.Get(headerFrom), theirs), http.StatusForbidden)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	raft, ok := t.keep(conn)
	if !ok {
		_ = conn.Close() // Raft does not run: who dialled tries again
		return
	}
	defer t.forget(conn)
	// Hijacking leaves the deadlines of the request behind.
	err = errors.Join(conn.SetDeadline(time.Time{}), accept(conn))
	if err == nil {
		err = read(raft.from(r.Header.Get(headerFrom)), buffered.Reader)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		t.config.Logger.Info("a stream from another server ended", "from", r.Header.Get(headerFrom), "error", err)
	}
}

func accept(conn net.Conn) error {
	_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	return err
}

// keep notes a stream, so that Close can end it, and gives where its messages go.
func (t *Transport) keep(conn net.Conn) (*raft, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.raft == nil {
		return nil, false
	}
	t.streams[conn] = true
	t.readers.Add(1)
	return t.raft, true
}

func (t *Transport) forget(conn net.Conn) {
	t.mu.Lock()
	delete(t.streams, conn)
	t.mu.Unlock()
	_ = conn.Close() // it has ended already
	t.readers.Done()
}

func (t *Transport) readMessages(to *raft, in io.Reader) error {
	return readFrames(in, func(payload []byte) error {
		var batch pb.MessageBatch
		if err := unmarshal(&batch, payload); err != nil {
			return err
		}
		if !to.cut() {
			to.messages(batch)
		}
		return nil
	})
}

func (t *Transport) readChunks(to *raft, in io.Reader) error {
	return readFrames(in, func(payload []byte) error {
		var chunk pb.Chunk
		if err := unmarshal(&chunk, payload); err != nil {
			return err
		}
		if to.cut() || !to.chunks(chunk) {
			return fmt.Errorf("chunk %d of a snapshot was refused", chunk.ChunkId)
		}
		return nil
	})
}

// unmarshal takes bytes from the network: Dragonboat's decoder may panic on what no encoder wrote.
func unmarshal(to interface{ Unmarshal(b []byte) error }, payload []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a message of %d bytes that no server wrote: %v", len(payload), r)
		}
	}()
	return to.Unmarshal(payload)
}

// readFrames hands over the payload of every frame. A payload belongs to whoever gets it.
func readFrames(in io.Reader, take func(payload []byte) error) error {
	header := make([]byte, frameHeader)
	for {
		if _, err := io.ReadFull(in, header); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(header)
		if size == 0 || size > frameMax {
			return fmt.Errorf("a frame of %d bytes; 1 to %d are taken", size, frameMax)
		}
		payload, err := readPayload(in, int(size))
		if err != nil {
			return err
		}
		if sum := crc32.Checksum(payload, castagnoli); sum != binary.BigEndian.Uint32(header[4:]) {
			return fmt.Errorf("a frame of %d bytes has checksum %08x where %08x was sent", size, sum, header[4:])
		}
		if err := take(payload); err != nil {
			return err
		}
	}
}

// readPayload allocates what arrives, not what a header promises.
func readPayload(in io.Reader, size int) ([]byte, error) {
	const step = 4 << 20
	b := make([]byte, 0, min(size, step))
	for len(b) < size {
		n := len(b)
		b = append(b, make([]byte, min(size-n, step))...)
		if _, err := io.ReadFull(in, b[n:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}
