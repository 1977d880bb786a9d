package log

import (
	"context"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// gate stands between Raft and what carries its messages. It remembers what others show, and lets nothing through to or
// from a server that was not met: see Config.Meet. A message that is lost is nothing new to Raft.
type gate struct {
	Transport
	memory *Memory                                         // of what others show; nil: nothing is remembered
	own    *Memory                                         // of what this process has shown
	meet   func(ctx context.Context, address string) error // nil: everybody was met
	ctx    context.Context                                 // of whom it is met in the background
	// durable is the last entry of a group that this server has saved.
	durable func(group uint64) uint64
	wg      sync.WaitGroup

	mu      sync.Mutex
	met     map[string]bool      // by address
	heard   map[uint64]bool      // the replicas that messages from there came from
	asking  map[string]bool      // somebody finds out
	refused map[string]time.Time // when that failed last
}

// meetAgain is how long a server that could not be met is left alone, however many messages it sends.
const meetAgain = 100 * time.Millisecond

func newGate(ctx context.Context, c Config, durable func(group uint64) uint64) *gate {
	return &gate{
		durable:   durable,
		Transport: c.Transport, memory: c.Memory, own: NewMemory(), meet: c.Meet, ctx: ctx,
		met: map[string]bool{}, heard: map[uint64]bool{}, asking: map[string]bool{}, refused: map[string]time.Time{},
	}
}

// Create implements Dragonboat's factory.
func (g *gate) Create(c config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	return gated{ITransport: g.Transport.Create(c, g.messages(messages), g.chunks(chunks)), gate: g}
}

func (g *gate) messages(next raftio.MessageHandler) raftio.MessageHandler {
	return func(batch raftpb.MessageBatch) {
		if g.memory != nil {
			g.memory.noteBatch(batch)
		}
		if g.admits(batch.SourceAddress) {
			g.hears(batch)
			next(batch)
		}
	}
}

// chunks lets parts of snapshots through from replicas whose messages were let through: they do not say which address
// they come from. A leader goes on sending heartbeats meanwhile, and sends a snapshot again.
func (g *gate) chunks(next raftio.ChunkHandler) raftio.ChunkHandler {
	return func(c raftpb.Chunk) bool {
		g.mu.Lock()
		ok := g.meet == nil || g.heard[c.From]
		g.mu.Unlock()
		return ok && next(c)
	}
}

// hears notes whose messages are let through.
func (g *gate) hears(batch raftpb.MessageBatch) {
	if g.meet == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range batch.Requests {
		if from := batch.Requests[i].From; !g.heard[from] {
			g.heard[from] = true
		}
	}
}

// admits tells whether a server was met; where it was not, that is tried in the background.
func (g *gate) admits(address string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.meet == nil || g.met[address] {
		return true
	}
	if !g.asking[address] && time.Since(g.refused[address]) > meetAgain && g.ctx.Err() == nil {
		g.asking[address] = true
		g.wg.Go(func() { g.note(address, g.meet(g.ctx, address)) })
	}
	return false
}

// wait returns when a server was met, or why it was not.
func (g *gate) wait(ctx context.Context, address string) error {
	g.mu.Lock()
	known := g.meet == nil || g.met[address]
	g.mu.Unlock()
	if known {
		return nil
	}
	err := g.meet(ctx, address)
	g.note(address, err)
	return err
}

func (g *gate) note(address string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.asking, address)
	if err != nil {
		g.refused[address] = time.Now()
		return
	}
	g.met[address] = true
	delete(g.refused, address)
}

// close returns when nobody finds out any more. The gate's context has ended before.
func (g *gate) close() {
	g.mu.Lock() // whoever has not seen that it ended has begun by now
	defer g.wg.Wait()
	g.mu.Unlock()
}

// gated is a transport behind a gate.
type gated struct {
	raftio.ITransport
	gate *gate
}

// GetConnection implements raftio.ITransport.
func (t gated) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	if err := t.gate.wait(ctx, target); err != nil {
		return nil, err
	}
	c, err := t.ITransport.GetConnection(ctx, target)
	if err != nil {
		return nil, err
	}
	return connection{c, t.gate}, nil
}

// GetSnapshotConnection implements raftio.ITransport.
func (t gated) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	if err := t.gate.wait(ctx, target); err != nil {
		return nil, err
	}
	return t.ITransport.GetSnapshotConnection(ctx, target)
}

// connection is one that remembers what is shown, and says of nothing that it is committed before it is durable.
type connection struct {
	raftio.IConnection
	gate *gate
}

// SendMessageBatch implements raftio.IConnection.
func (c connection) SendMessageBatch(batch raftpb.MessageBatch) error {
	c.gate.own.noteBatch(batch) // before anybody sees it
	for i := range batch.Requests {
		// A leader's entries travel while it saves them. Where it votes alone they are committed at once, as Dragonboat sees it,
		// and a non-voter would apply what the leader loses in a crash, and commits otherwise afterwards. A heartbeat says it
		// soon enough.
		if m := &batch.Requests[i]; m.Type == raftpb.Replicate {
			m.Commit = min(m.Commit, c.gate.durable(m.ShardID))
		}
	}
	return c.IConnection.SendMessageBatch(batch)
}
