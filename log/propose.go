package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"github.com/rollcall/rollcall/fault"
	"github.com/rollcall/rollcall/log/machine"
)

// Proposing gathers what is waiting into one Raft entry, because an entry costs more than a command (a log record,
// a batch, a wake-up). A lone command is proposed at once; while entries are on their way, the next ones grow.
const (
	queueCommandsMax  = 8192    // commands that may wait before callers are told that the group is busy
	entryCommandsMax  = 512     // commands in an entry
	entryBytesMax     = 1 << 20 // an entry is sent when it has grown so far
	commandBytesMax   = 4 << 20 // a command on its own
	entriesInFlight   = 4       // more would only make smaller entries
	queueBytesMax     = 64 << 20
	retryWithNoLeader = 20 * time.Millisecond
)

// proposal is a command that waits for its reply.
type proposal struct {
	command []byte
	ctx     context.Context // its deadline bounds the proposal
	done    chan outcome    // capacity 1: the answer never waits for the caller
	// taken decides who has the last word on a proposal that waits: the sender, who then proposes it, or a caller
	// whose time ran out, who then knows that nothing was written.
	taken atomic.Bool
}

type outcome struct {
	reply []byte
	err   error
}

// proposer sends the commands of one group. Its goroutine ends when ctx does.
type proposer struct {
	host    *host
	session *client.Session
	origin  uint64        // stands on every entry, so that the machine knows whose replies are wanted
	least   time.Duration // Raft refuses time-outs below its tick; callers watch their own deadlines
	waiting atomic.Int64  // bytes of the commands that wait or are on their way
	queue   chan *proposal
	slots   chan struct{} // one token for each entry in flight
	wg      sync.WaitGroup
	ended   chan struct{} // closed when run has returned: everything proposed has been answered

	flights flights
	barrier func(context.Context) error // of the group
}

func newProposer(host *host, group, origin uint64, tick time.Duration, barrier func(context.Context) error) *proposer {
	return &proposer{
		barrier: barrier,
		host:    host,
		origin:  origin,
		least:   2 * tick,
		session: host.raft.GetNoOPSession(group),
		queue:   make(chan *proposal, queueCommandsMax),
		slots:   make(chan struct{}, entriesInFlight),
		ended:   make(chan struct{}),
	}
}

// submit has one command proposed and waits for its reply.
func (p *proposer) submit(ctx context.Context, c machine.Command) ([]byte, error) {
	b := machine.EncodeCommand(c)
	if len(b) > commandBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(b), commandBytesMax)
	}
	defer p.waiting.Add(-int64(len(b)))
	if p.waiting.Add(int64(len(b))) > queueBytesMax {
		return nil, ErrBusy
	}
	for {
		w := &proposal{command: b, ctx: ctx, done: make(chan outcome, 1)}
		select {
		case p.queue <- w:
		default:
			return nil, ErrBusy
		}
		var o outcome
		select {
		case o = <-w.done:
		case <-ctx.Done():
			if w.taken.CompareAndSwap(false, true) {
				return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
			}
			return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx))
		case <-p.ended:
			if w.taken.CompareAndSwap(false, true) {
				return nil, ErrClosed
			}
			o = <-w.done
		}
		if !errors.Is(o.err, errDropped) {
			return o.reply, o.err
		}
		// No leader yet: nothing was written, so trying again is safe.
		timer := time.NewTimer(retryWithNoLeader)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

// errDropped says that Raft did not take the entry because there is no leader.
var errDropped = errors.New("dropped")

// run sends entries until ctx ends, then refuses what still waits.
func (p *proposer) run(ctx context.Context) {
	defer close(p.ended)
	defer p.wg.Wait()
	for {
		select {
		case first := <-p.queue:
			select {
			case p.slots <- struct{}{}:
				p.send(p.gather(first))
			case <-ctx.Done():
				answer([]*proposal{first}, outcome{err: ErrClosed})
			}
		case <-ctx.Done():
			for {
				select {
				case w := <-p.queue:
					answer([]*proposal{w}, outcome{err: ErrClosed})
				default:
					return
				}
			}
		}
	}
}

// gather takes what else is waiting, within the bounds of an entry.
func (p *proposer) gather(first *proposal) []*proposal {
	batch, size := []*proposal{first}, len(first.command)
	for len(batch) < entryCommandsMax && size < entryBytesMax {
		select {
		case w := <-p.queue:
			batch, size = append(batch, w), size+len(w.command)
		default:
			return batch
		}
	}
	return batch
}

// send proposes one entry and leaves the waiting to a goroutine that frees the slot.
func (p *proposer) send(batch []*proposal) {
	free := sync.OnceFunc(func() { <-p.slots })
	batch, timeout := p.expire(batch)
	if len(batch) == 0 {
		free()
		return
	}
	commands := make([][]byte, len(batch))
	for i, w := range batch {
		commands[i] = w.command
	}
	entry := machine.EncodeEntry(p.origin, commands)
	fault.Point(fault.ProposeBefore)
	var request *dragonboat.RequestState
	err := p.host.use(func(raft *dragonboat.NodeHost) (err error) {
		request, err = raft.Propose(p.session, entry, timeout)
		return err
	})
	fault.Point(fault.ProposeAfter)
	if err != nil {
		free()
		answer(batch, outcome{err: refusal(err)})
		return
	}
	f := p.flights.begin(free)
	p.wg.Go(func() {
		defer request.Release()
		defer p.flights.end(f)
		select {
		case result := <-request.ResultC():
			free()
			settle(batch, result)
		case <-f.lost:
			answer(batch, outcome{err: ErrOutcomeUnknown})
			<-request.ResultC() // Dragonboat owns the request until it has answered
		}
	})
}

// expire leaves out what its caller has given up, and gives the longest time that any of the others still has.
func (p *proposer) expire(batch []*proposal) (alive []*proposal, timeout time.Duration) {
	for _, w := range batch {
		if !w.taken.CompareAndSwap(false, true) {
			continue
		}
		left := defaultTimeout
		if deadline, ok := w.ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		alive, timeout = append(alive, w), max(timeout, left, p.least)
	}
	return alive, timeout
}

func settle(batch []*proposal, result dragonboat.RequestResult) {
	switch {
	case result.Completed():
		r := result.GetResult()
		if r.Value != machine.ResultApplied {
			answer(batch, outcome{err: errors.New("the entry was malformed and had no effect")})
			return
		}
		replies, err := machine.SplitFrames(r.Data)
		if err != nil || len(replies) != len(batch) {
			answer(batch, outcome{err: fmt.Errorf("%d replies to %d commands: %w", len(replies), len(batch), errors.Join(err, ErrOutcomeUnknown))})
			return
		}
		for i, w := range batch {
			w.done <- outcome{reply: replies[i]}
		}
	case result.Dropped():
		answer(batch, outcome{err: errDropped})
	default: // timed out, terminated, aborted: it may have been appended
		answer(batch, outcome{err: ErrOutcomeUnknown})
	}
}

func answer(batch []*proposal, o outcome) {
	for _, w := range batch {
		w.done <- o
	}
}

// refusal says what an error of Propose means: nothing was appended.
func refusal(err error) error {
	switch {
	case errors.Is(err, dragonboat.ErrSystemBusy):
		return ErrBusy
	case errors.Is(err, dragonboat.ErrShardNotReady), errors.Is(err, dragonboat.ErrShardNotInitialized),
		errors.Is(err, dragonboat.ErrTimeoutTooSmall):
		return errDropped
	case errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardClosed), errors.Is(err, dragonboat.ErrShardNotFound):
		return ErrClosed
	}
	return fmt.Errorf("propose: %w", err)
}
