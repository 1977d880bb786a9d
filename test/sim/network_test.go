package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// network carries Raft's messages between the hosts of one bubble, as badly as it is told to. Messages are encoded and
// decoded on their way, so that no host ever holds what another may change. Nothing of it outlives the bubble.
type network struct {
	stuck    *watchdog
	mu       sync.Mutex
	random   *rand.Rand
	hosts    map[string]*endpoint // by address: who listens there now
	cuts     map[link]bool
	weather  weather
	carried  int // message batches and chunks that arrived
	lost     int
	repeated int
	chunks   int // of snapshots, among those that arrived
}

// link is one direction between two addresses.
type link struct{ from, to string }

// weather is how the links are that are not cut.
type weather struct {
	delayMin, delayMax time.Duration // each message takes its own time, so they overtake one another
	lose, repeat       float64       // probabilities
}

// calm is a local network.
var calm = weather{delayMin: time.Millisecond, delayMax: 2 * time.Millisecond}

func newNetwork(random *rand.Rand, stuck *watchdog) *network {
	return &network{stuck: stuck, random: random, hosts: map[string]*endpoint{}, cuts: map[link]bool{}, weather: calm}
}

// cut stops what goes from one address to another, in silence, as a router does that has lost its way.
func (n *network) cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[link{from, to}] = true
}

// isolate cuts one address off from all other servers, both ways.
func (n *network) isolate(one string, from []*host) {
	for _, s := range from {
		if s.name != one {
			n.cut(one, s.name)
			n.cut(s.name, one)
		}
	}
}

// heal mends all links and the weather.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts, n.weather = map[link]bool{}, calm
}

func (n *network) setWeather(w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.weather = w
}

// fate decides what happens to one message: whether it gets lost, and after how long it and its repetitions arrive.
func (n *network) fate(from, to string) (delays []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stuck.signs.Add(1)
	w := n.weather
	if n.cuts[link{from, to}] || n.random.Float64() < w.lose {
		n.lost++
		return nil
	}
	delays = append(delays, w.delay(n.random))
	if n.random.Float64() < w.repeat {
		n.repeated++
		delays = append(delays, w.delay(n.random))
	}
	return delays
}

func (w weather) delay(random *rand.Rand) time.Duration {
	return w.delayMin + time.Duration(random.Int64N(int64(w.delayMax-w.delayMin)+1))
}

// arrive finds who is to get a message that has come through. A message does not reach a host that was started after it
// was sent, nor one that a cut has separated meanwhile.
func (n *network) arrive(from string, to *endpoint) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[to.address] != to || n.cuts[link{from, to.address}] {
		n.lost++
		return false
	}
	n.carried++
	return true
}

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset")
)

// dial finds who listens at an address.
func (n *network) dial(from *endpoint, to string) (*endpoint, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	target := n.hosts[to]
	switch {
	case n.hosts[from.address] != from:
		return nil, errReset
	case n.cuts[link{from.address, to}], n.cuts[link{to, from.address}]:
		return nil, fmt.Errorf("dial %s: timeout", to)
	case target == nil:
		return nil, fmt.Errorf("dial %s: %w", to, errRefused)
	}
	return target, nil
}

// unplug takes a host off the network: nothing that it sends from now on arrives, and nothing arrives at it.
func (n *network) unplug(e *endpoint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[e.address] == e {
		delete(n.hosts, e.address)
	}
}

// endpoint is one life of one host on the network. It makes the transport that Dragonboat asks for.
type endpoint struct {
	network *network
	address string

	mu       sync.RWMutex // held for reading while Raft is handed something
	closed   bool
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler
}

func (n *network) endpoint(address string) *endpoint { return &endpoint{network: n, address: address} }

// Create implements config.TransportFactory.
func (e *endpoint) Create(_ config.NodeHostConfig, messages raftio.MessageHandler, chunks raftio.ChunkHandler) raftio.ITransport {
	e.messages, e.chunks = messages, chunks
	return e
}

// Validate implements config.TransportFactory.
func (e *endpoint) Validate(address string) bool { return address != "" }

// Name implements raftio.ITransport.
func (e *endpoint) Name() string { return "simulated" }

// Start implements raftio.ITransport.
func (e *endpoint) Start() error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.network.hosts[e.address] = e
	return nil
}

// Close implements raftio.ITransport: when it returns, Raft is not handed anything any more.
func (e *endpoint) Close() error {
	e.network.unplug(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// GetConnection implements raftio.ITransport.
func (e *endpoint) GetConnection(_ context.Context, target string) (raftio.IConnection, error) {
	return e.connect(target)
}

// GetSnapshotConnection implements raftio.ITransport.
func (e *endpoint) GetSnapshotConnection(_ context.Context, target string) (raftio.ISnapshotConnection, error) {
	return e.connect(target)
}

func (e *endpoint) connect(target string) (*connection, error) {
	to, err := e.network.dial(e, target)
	if err != nil {
		return nil, err
	}
	return &connection{from: e, to: to}, nil
}

// hand gives Raft something, unless it is not there any more.
func (e *endpoint) hand(give func() bool) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return !e.closed && give()
}

// connection is one way from one life of a host to one of another.
type connection struct{ from, to *endpoint }

// Close implements raftio.IConnection.
func (c *connection) Close() {}

// alive tells whether both ends are what they were when the connection was made.
func (c *connection) alive() error {
	n := c.from.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[c.from.address] != c.from || n.hosts[c.to.address] != c.to {
		return errReset
	}
	return nil
}

// SendMessageBatch implements raftio.IConnection. It does not wait for the message to arrive.
//
// What is repeated are Raft's own messages. A command that is handed on to the leader has nothing to know it by, and
// would be committed twice: that is for the transport to rule out, and package transport's streams do.
func (c *connection) SendMessageBatch(batch pb.MessageBatch) error {
	if err := c.alive(); err != nil {
		return err
	}
	b, err := batch.Marshal()
	if err != nil {
		return err
	}
	for i, delay := range c.from.network.fate(c.from.address, c.to.address) {
		time.AfterFunc(delay, func() {
			var arrived pb.MessageBatch
			if err := arrived.Unmarshal(b); err != nil {
				panic(err) // these bytes never left this process
			}
			if i > 0 {
				arrived.Requests = slices.DeleteFunc(arrived.Requests, func(m pb.Message) bool { return m.Type == pb.Propose })
			}
			if c.from.network.arrive(c.from.address, c.to) {
				c.to.hand(func() bool { c.to.messages(arrived); return true })
			}
		})
	}
	return nil
}

// SendChunk implements raftio.ISnapshotConnection. A snapshot's chunks come in order, or its connection ends.
func (c *connection) SendChunk(chunk pb.Chunk) error {
	if err := c.alive(); err != nil {
		return err
	}
	b, err := chunk.Marshal()
	if err != nil {
		return err
	}
	delays := c.from.network.fate(c.from.address, c.to.address)
	if len(delays) == 0 {
		return errReset
	}
	wait(context.Background(), delays[0])
	var arrived pb.Chunk
	if err := arrived.Unmarshal(b); err != nil {
		return err
	}
	if !c.from.network.arrive(c.from.address, c.to) || !c.to.hand(func() bool { return c.to.chunks(arrived) }) {
		return errReset
	}
	c.from.network.countChunk()
	return nil
}

func (n *network) countChunk() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.chunks++
}
