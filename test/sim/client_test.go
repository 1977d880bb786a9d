package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
	"github.com/rollcall/rollcall/test/check"
)

// client asks random servers for random things, one after the other, and records what it is told.
type client struct {
	cluster *cluster
	number  int
	random  *rand.Rand
	asked   int

	seen    uint64            // the highest revision that it was told
	current map[string]uint64 // revisions of keys as it saw them last, for compare-and-set
}

// The keys, in parts that transactions stay within.
var (
	parts = []string{"red", "green", "blue", "grey"}
	names = []string{"a", "b", "c"}
)

const requestTimeout = 3 * time.Second

func newClient(c *cluster, number int) *client {
	return &client{
		cluster: c, number: number, random: c.plan.random(fmt.Sprintf("client %d", number)), current: map[string]uint64{},
	}
}

// run goes on until ctx ends.
func (c *client) run(ctx context.Context) {
	for wait(ctx, time.Duration(c.random.Int64N(int64(2*c.cluster.plan.think)))) {
		if l := c.cluster.anyone(c.random); l != nil {
			c.step(l)
		}
	}
}

// step does one random thing on a server.
func (c *client) step(l *life) check.Operation {
	if c.random.IntN(2) == 0 {
		return c.read(l)
	}
	return c.write(l, c.command())
}

// command makes a random write.
func (c *client) command() check.Operation {
	key := func() string { return pick(c.random, parts) + "/" + pick(c.random, names) }
	k := key()
	o := check.Operation{Writes: []check.Write{{Key: k}}}
	switch c.random.IntN(10) {
	case 0, 1, 2: // a put
	case 3: // a create
		o.If = []check.Condition{{Key: k}}
	case 4, 5, 6: // a compare-and-set
		o.If = []check.Condition{{Key: k, Revision: c.current[k]}}
	case 7: // a delete
		o.If = []check.Condition{{Key: k, Exists: true}}
		o.Writes[0].Delete = true
	default: // a transaction: two keys, if a third one is what it was
		part := pick(c.random, parts)
		third := part + "/" + names[2]
		o.Writes = []check.Write{{Key: part + "/" + names[0]}, {Key: part + "/" + names[1]}}
		o.If = []check.Condition{{Key: third, Revision: c.current[third]}}
	}
	return o
}

func pick(random *rand.Rand, from []string) string { return from[random.IntN(len(from))] }

// name gives an operation its identity, which is also what it writes.
func (c *client) name(o *check.Operation, l *life) {
	c.asked++
	o.ID, o.Client, o.Server = fmt.Sprintf("c%d-%d", c.number, c.asked), c.number, l.server.name
	for i := range o.Writes {
		if !o.Writes[i].Delete {
			o.Writes[i].Value = o.ID
		}
	}
}

// write asks a server for a write.
func (c *client) write(l *life, o check.Operation) check.Operation {
	c.name(&o, l)
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	o.Call = c.cluster.record.now()
	reply, err := l.log.Submit(ctx, group, machine.Command{
		Ledger: ledger, Time: event.Time(time.Now().Add(l.server.skew).UnixNano()), Reason: o.ID, Body: commands.Encode(encode(o)),
	})
	o.Outcome, o.Revision = c.outcome(reply, err)
	if l.dead.Load() { // the connection broke before there was an answer
		o.Outcome, o.Revision = check.Unknown, 0
	}
	if c.cluster.plan.boast && o.Outcome == check.Unknown {
		o.Outcome, o.Revision = check.OK, c.seen+1
	}
	o.Return = c.cluster.record.now()
	if o.Outcome == check.OK {
		c.seen = max(c.seen, o.Revision)
		for _, w := range o.Writes {
			c.current[w.Key] = o.Revision
			if w.Delete {
				c.current[w.Key] = 0
			}
		}
	}
	c.cluster.record.operation(o)
	return o
}

// encode gives the command that an operation stands for.
func encode(o check.Operation) commands.Command {
	var conditions []commands.Condition
	for _, c := range o.If {
		if !c.Exists {
			conditions = append(conditions, commands.KeyRevision(c.Key, event.Revision(c.Revision)))
		}
	}
	first := o.Writes[0]
	switch {
	case first.Delete:
		return commands.DeleteKey{Key: first.Key, If: conditions}
	case len(o.Writes) == 1:
		return commands.PutKey{Key: first.Key, Value: []byte(first.Value), If: conditions}
	}
	txn := commands.Txn{If: conditions}
	for _, w := range o.Writes {
		txn.Then = append(txn.Then, commands.Operation{Put: &commands.PutKey{Key: w.Key, Value: []byte(w.Value)}})
	}
	return txn
}

// outcome says what an answer means.
func (c *client) outcome(reply []byte, err error) (check.Outcome, uint64) {
	switch {
	case errors.Is(err, log.ErrUnavailable), errors.Is(err, log.ErrBusy), errors.Is(err, log.ErrClosed):
		return check.Failed, 0
	case errors.Is(err, log.ErrOutcomeUnknown):
		return check.Unknown, 0
	case err != nil:
		c.cluster.fault(fmt.Errorf("a write ended with an error that it should not have: %w", err))
		return check.Unknown, 0
	}
	answer, rejection, err := commands.DecodeReply(reply)
	switch {
	case err != nil:
		c.cluster.fault(err)
		return check.Unknown, 0
	case rejection != nil && (rejection.Code == commands.CodeConditionFailed || rejection.Code == commands.CodeNotFound),
		rejection == nil && answer.Branch == commands.BranchElse:
		return check.Refused, 0
	case rejection != nil:
		c.cluster.fault(fmt.Errorf("a write was refused for a reason that it should not have been: %w", rejection))
		return check.Unknown, 0
	}
	return check.OK, uint64(answer.Revision)
}

// read asks a server for all keys of a part.
func (c *client) read(l *life) check.Operation {
	var o check.Operation
	switch c.random.IntN(4) {
	case 0:
		o.Consistency = check.Stale
	case 1:
		o.Consistency, o.MinRevision = check.Stale, c.seen
	}
	return c.readAs(l, o)
}

func (c *client) readAs(l *life, o check.Operation) check.Operation {
	c.name(&o, l)
	part := pick(c.random, parts)
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	o.Call = c.cluster.record.now()
	err := c.prepare(ctx, l, o)
	if err == nil {
		err = l.log.View(group, ledger, nil, func(rows store.Reader, revision event.Revision) error {
			o.Revision = uint64(revision)
			view := projections.NewView(rows, revision)
			for _, name := range names {
				r := check.Read{Key: part + "/" + name}
				if e, ok := view.Key(r.Key); ok {
					r.Value, r.Revision = string(e.Value), uint64(e.Revision)
				}
				o.Reads = append(o.Reads, r)
			}
			return nil
		})
	}
	o.Outcome = check.OK
	if err != nil || l.dead.Load() {
		o.Outcome = check.Failed
	}
	o.Return = c.cluster.record.now()
	if o.Outcome == check.OK {
		c.seen = max(c.seen, o.Revision)
		for _, r := range o.Reads {
			c.current[r.Key] = r.Revision
		}
	}
	c.cluster.record.operation(o)
	return o
}

// prepare does what comes before a read, as package server does it.
func (c *client) prepare(ctx context.Context, l *life, o check.Operation) error {
	if o.Consistency == check.Linearizable && !c.cluster.plan.carelessReads {
		if err := l.log.Barrier(ctx, group); err != nil {
			return err
		}
	}
	if c.cluster.plan.impatientReads {
		return nil
	}
	head, err := l.log.Head(group, ledger)
	if err != nil {
		return err
	}
	f, err := l.log.Follow(group, ledger, head.Revision+1)
	for err == nil && uint64(f.Position()) <= o.MinRevision {
		_, err = f.Next(ctx)
	}
	return err
}
