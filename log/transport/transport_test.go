package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/rollcall/rollcall/log/transport"
	"github.com/rollcall/rollcall/test/address"
)

// end is one server: its transport, and what Raft got from it.
type end struct {
	*transport.Transport
	raft     raftio.ITransport
	messages chan pb.MessageBatch
	chunks   chan pb.Chunk
	refuse   bool // chunks
}

func listen(t *testing.T, name, cluster string) *end {
	t.Helper()
	return listenAt(t, "127.0.0.1:0", name, cluster)
}

func listenAt(t *testing.T, at, name, cluster string) *end {
	t.Helper()
	tr, err := transport.Listen(transport.Config{Address: at, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	tr.Join(cluster)
	e := &end{Transport: tr, messages: make(chan pb.MessageBatch, 16), chunks: make(chan pb.Chunk, 16)}
	e.raft = tr.Create(config.NodeHostConfig{},
		func(b pb.MessageBatch) { e.messages <- b },
		func(c pb.Chunk) bool { e.chunks <- c; return !e.refuse })
	if err := e.raft.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, from chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-deadline(t).Done():
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}

// TestStreams sends messages and chunks, small and large, and gets them in order.
func TestStreams(t *testing.T) {
	a, b := listen(t, "a", "x"), listen(t, "b", "x")
	conn, err := a.raft.GetConnection(deadline(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, size := range []int{0, 1, 100, 5 << 20, 10} {
		command := bytes.Repeat([]byte{byte(i)}, size)
		err := conn.SendMessageBatch(pb.MessageBatch{DeploymentId: uint64(i + 1), SourceAddress: a.Address(), Requests: []pb.Message{
			{Type: pb.Replicate, To: 2, From: 1, Entries: []pb.Entry{{Index: uint64(i), Cmd: command}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		got := receive(t, b.messages)
		if got.DeploymentId != uint64(i+1) || len(got.Requests) != 1 || !bytes.Equal(got.Requests[0].Entries[0].Cmd, command) {
			t.Errorf("message %d of %d bytes arrived as %d requests of deployment %d", i, size, len(got.Requests), got.DeploymentId)
		}
	}
	snapshot, err := a.raft.GetSnapshotConnection(deadline(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	if err := snapshot.SendChunk(pb.Chunk{ChunkId: 7, Data: []byte("rows")}); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, b.chunks); got.ChunkId != 7 || string(got.Data) != "rows" {
		t.Errorf("chunk arrived as %+v", got)
	}
}

// TestRestartedServer sends into a connection whose other end was restarted while nothing was said: it is made anew
// before anything is lost, and no error makes Raft leave the server alone for a while.
func TestRestartedServer(t *testing.T) {
	a, b := listen(t, "a", "x"), listenAt(t, address.Free(t), "b", "x")
	conn, err := a.raft.GetConnection(deadline(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SendMessageBatch(pb.MessageBatch{DeploymentId: 1}); err != nil {
		t.Fatal(err)
	}
	receive(t, b.messages)
	if err := errors.Join(b.raft.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	again := listenAt(t, b.Address(), "b", "x")
	for ctx := deadline(t); ; { // what is sent in the moment before the end is noticed may be lost, and only that
		if err := conn.SendMessageBatch(pb.MessageBatch{DeploymentId: 2}); err != nil {
			t.Fatalf("after the restart: %v", err)
		}
		select {
		case <-again.messages:
			return
		case <-ctx.Done():
			t.Fatal("nothing arrives after the restart")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestStrangers turns away who belongs to another cluster, to none, or speaks something else.
func TestStrangers(t *testing.T) {
	b := listen(t, "b", "x")
	for name, cluster := range map[string]string{"another cluster": "y", "none": ""} {
		a := listen(t, "a", cluster)
		if _, err := a.raft.GetConnection(deadline(t), b.Address()); err == nil || !strings.Contains(err.Error(), "belongs to cluster") {
			t.Errorf("%s: got %v, want a refusal that names the clusters", name, err)
		}
	}
	response, err := http.Get("http://" + b.Address() + "/raft/messages")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("an ordinary request: got %d, want %d", response.StatusCode, http.StatusUpgradeRequired)
	}
}

// TestRaftStopped turns messages away while Raft does not run, and ends the streams that it has.
func TestRaftStopped(t *testing.T) {
	a, b := listen(t, "a", "x"), listen(t, "b", "x")
	conn, err := a.raft.GetConnection(deadline(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := b.raft.Close(); err != nil {
		t.Fatal(err)
	}
	for ctx := deadline(t); conn.SendMessageBatch(pb.MessageBatch{}) == nil; {
		if ctx.Err() != nil {
			t.Fatal("a stream to a server whose Raft has stopped goes on")
		}
	}
	if _, err := a.raft.GetConnection(deadline(t), b.Address()); err == nil {
		t.Error("a server whose Raft has stopped takes a new stream")
	}
}

// TestDamagedStream ends a stream at the first frame that was damaged on its way, and hands nothing of it over.
func TestDamagedStream(t *testing.T) {
	b := listen(t, "b", "x")
	good := []byte{0, 0, 0, 2, 0, 0, 0, 0, 8, 1}
	for name, frame := range map[string][]byte{
		"checksum": good, "no length": {0, 0, 0, 0, 1, 2, 3, 4}, "a length beyond bounds": {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4},
	} {
		conn, err := net.Dial("tcp", b.Address())
		if err != nil {
			t.Fatal(err)
		}
		request := "GET /raft/messages HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: rollcall-raft/1\r\nRollcall-Cluster: x\r\nRollcall-From: a\r\n\r\n"
		if _, err := io.WriteString(conn, request+string(frame)); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		var reset *net.OpError
		if err != nil && !errors.As(err, &reset) || errors.As(err, &reset) && reset.Timeout() {
			t.Errorf("%s: the stream goes on: %v", name, err)
		}
		if !strings.HasPrefix(string(answer), "HTTP/1.1 101") {
			t.Errorf("%s: got %q", name, answer)
		}
		_ = conn.Close()
	}
	if len(b.messages) > 0 {
		t.Error("a damaged frame was handed over")
	}
}

// TestCloseWaits closes what Dragonboat sees while it is handed a message: it takes itself apart when Close returns.
func TestCloseWaits(t *testing.T) {
	a, b := listen(t, "a", "x"), listen(t, "b", "x")
	taking, closed, ended := make(chan bool), make(chan struct{}), make(chan bool, 1)
	b.raft = b.Create(config.NodeHostConfig{}, func(pb.MessageBatch) {
		close(taking)
		select {
		case <-closed:
			ended <- false
		case <-time.After(100 * time.Millisecond):
			ended <- true
		}
	}, func(pb.Chunk) bool { return true })
	if err := b.raft.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := a.raft.GetConnection(deadline(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SendMessageBatch(pb.MessageBatch{DeploymentId: 1}); err != nil {
		t.Fatal(err)
	}
	receive(t, taking)
	if err := b.raft.Close(); err != nil {
		t.Error(err)
	}
	close(closed)
	if !receive(t, ended) {
		t.Error("Close returned while a message was handed over")
	}
}

// TestNotBeforeStart: Dragonboat makes the rest of itself between Create and Start.
func TestNotBeforeStart(t *testing.T) {
	tr, err := transport.Listen(transport.Config{Address: "127.0.0.1:0", Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	tr.Join("x")
	one := tr.Create(config.NodeHostConfig{}, func(pb.MessageBatch) {}, func(pb.Chunk) bool { return true })
	a := listen(t, "a", "x")
	if conn, err := a.raft.GetConnection(deadline(t), tr.Address()); err == nil {
		conn.Close()
		t.Error("a stream is taken before Start")
	}
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := a.raft.GetConnection(deadline(t), tr.Address())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
