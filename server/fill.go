package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

const (
	// fillBytes is about how many bytes of keys and values are taken over in one commit.
	fillBytes = event.TxnBytesMax / 2
	// choresMax is how many namespaces a server fills at once, and how many it ends: each keeps its group busy with one
	// commit after the other.
	choresMax = 4
)

// chores are what a server carries on with in the background, for as long as it takes: at most one for each namespace, so
// that none waits for another one's, and a bounded number that do something at once.
type chores struct {
	fills, ends chan struct{} // capacity choresMax: held by those that do something

	mu      sync.Mutex
	running map[string]*chore // by namespace
}

type chore struct {
	done   chan struct{} // closed at its end
	err    error         // why it could not be done; of whom done was closed for
	missed bool          // somebody looked meanwhile for what to do next; guarded by chores.mu
}

func newChores() *chores {
	return &chores{fills: make(chan struct{}, choresMax), ends: make(chan struct{}, choresMax), running: map[string]*chore{}}
}

// busy tells whether there is a chore of a namespace; at the end of that one the server looks again.
func (c *chores) busy(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.running[namespace]
	if own != nil {
		own.missed = true
	}
	return own != nil
}

// begin has a namespace's chore be done, and gives it; where there is one already it gives that one.
func (c *chores) begin(s *Server, namespace string, slots chan struct{}, do func(context.Context) error) *chore {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own := c.running[namespace]; own != nil {
		return own
	}
	own := &chore{done: make(chan struct{})}
	c.running[namespace] = own
	s.wg.Go(func() {
		select {
		case slots <- struct{}{}:
			own.err = do(s.following)
			<-slots
		case <-s.following.Done():
			own.err = gateway.ErrClosed
		}
		if own.err != nil && s.following.Err() == nil {
			s.config.Logger.Warn("cannot carry on with a namespace now", "namespace", namespace, "error", own.err)
		}
		c.mu.Lock()
		delete(c.running, namespace)
		missed := own.missed
		c.mu.Unlock()
		close(own.done)
		if missed {
			s.wakeLives()
		}
	})
	return own
}

// attempt does one step of a chore: that may take as long as a request may, however many there are.
func (s *Server) attempt(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	return step(ctx)
}

// awaitFilled has a namespace filled and be used here. Where that takes longer than the one who asks may wait, it says so,
// and goes on.
func (s *Server) awaitFilled(ctx context.Context, n event.Namespace) error {
	for {
		if life, _ := s.life(n.Group, n.Name); life.Phase != event.Filling || life.Placed != n.Revision {
			return s.admit(n.Name, n.Group)
		}
		c := s.chores.begin(s, n.Name, s.chores.fills, func(ctx context.Context) error { return s.fill(ctx, n) })
		select {
		case <-c.done:
			if c.err != nil {
				return c.err
			}
		case <-ctx.Done():
			return commands.Unseen(n.Name, event.Filling)
		}
	}
}

// permanent yields the keys of a namespace that one made from it takes over, in key order behind one of them: those that end
// with nothing, neither with a lease of their own nor with that of a directory above them.
func permanent(v projections.View, after string) func(yield func(event.Entry) bool) {
	return func(yield func(event.Entry) bool) {
		directory := "" // one that goes with all that is below it
		for e := range v.KeysAfter(after) {
			if directory != "" && len(e.Key) > len(directory) && e.Key[:len(directory)] == directory {
				continue
			}
			directory = ""
			switch {
			case e.TTL > 0 && event.IsDirectory(e.Key):
				directory = e.Key
			case e.TTL > 0 || e.Session != "" || event.IsDirectory(e.Key):
			case !yield(e):
				return
			}
		}
	}
}

// fill has a namespace take over what the one that it is made from held, by several commits. Others may do so at once, or
// have done so before: it goes on where its ledger stands.
func (s *Server) fill(ctx context.Context, n event.Namespace) error {
	var group uint64
	err := s.peek(systemGroup, event.System, func(v projections.View) error {
		source, exists := v.Namespace(n.From)
		if group = source.Group; !exists {
			gone, _ := v.Gone(n.From) // what it held is still there to be read
			group = gone.Group
		}
		return nil
	})
	if err == nil {
		err = s.attempt(ctx, func(ctx context.Context) error { return s.await(ctx, group, n.From, n.FromRevision) })
	}
	for after, done := "", false; err == nil && !done; {
		err = s.attempt(ctx, func(ctx context.Context) error {
			after, done, err = s.fillSome(ctx, group, n, after)
			return err
		})
	}
	return err
}

// fillSome takes over the next keys, in one commit, behind what is known to be there. It gives up to where everything is
// there then, and whether that is all.
func (s *Server) fillSome(ctx context.Context, group uint64, n event.Namespace, after string) (upTo string, done bool, err error) {
	if life, _ := s.life(n.Group, n.Name); life.Phase == event.Open || life.Placed != n.Revision {
		return after, true, nil // somebody else has filled it
	}
	last, err := s.lastFilled(n)
	if err != nil {
		return after, false, err
	}
	c := commands.FillNamespace{Namespace: n.Name, Placed: n.Revision}
	upTo = max(after, last)
	c.Entries, c.Done, err = s.missing(group, n, upTo)
	if trimmed, ok := errors.AsType[gateway.TrimmedError](err); ok {
		return after, false, errors.Join(err, s.giveUp(ctx, n, trimmed))
	}
	if err != nil {
		return after, false, err
	}
	if _, err := s.submit(ctx, n.Group, n.Name, gateway.Request{Command: c, Reason: "it is made from namespace " + n.From}); err != nil {
		return after, false, err
	}
	if len(c.Entries) > 0 {
		upTo = c.Entries[len(c.Entries)-1].Key
	}
	return upTo, c.Done, nil
}

// lastFilled is the greatest key that a namespace has which is being filled; "" where it has none. Nobody else writes keys
// there, and whoever fills it writes the next ones behind all that are there: so it is the one that was written last.
func (s *Server) lastFilled(n event.Namespace) (last string, err error) {
	_, err = s.log.Find(n.Group, n.Name, func(db *store.DB, l store.Ledger) (_ event.Revision, err error) {
		defer store.Catch(&err)
		for e := range db.Backward(l.ID, l.Head.Revision) {
			switch b := e.Body.(type) {
			case event.KeySet:
				last = b.Key
				return e.Revision, nil
			case event.NamespaceOpened:
				return e.Revision, nil // what is before it is another one's
			}
		}
		return 0, nil
	})
	return last, outside(err)
}

// missing gives some of the keys that a namespace is to take over behind one of them; done says that there are no more.
func (s *Server) missing(group uint64, n event.Namespace, after string) (entries []commands.FillEntry, done bool, err error) {
	at := func(db *store.DB, l store.Ledger) (event.Revision, error) { return db.Floor(l.ID, n.FromRevision) }
	size := 0
	done = true
	err = outside(s.log.View(group, n.From, at, func(rows store.Reader, revision event.Revision) error {
		for e := range permanent(projections.NewView(rows, revision), after) {
			if len(entries) == event.FillEntriesMax || size >= fillBytes {
				done = false
				break
			}
			size += len(e.Key) + len(e.Value)
			entries = append(entries, commands.FillEntry{Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags})
		}
		return nil
	}))
	return entries, done, err
}

// giveUp ends a namespace that cannot be filled any more: it is not to be half of something for good.
func (s *Server) giveUp(ctx context.Context, n event.Namespace, why gateway.TrimmedError) error {
	_, err := s.submit(ctx, n.Group, n.Name, gateway.Request{
		Command: commands.CloseNamespace{Namespace: n.Name, Placed: n.Revision},
		Reason:  fmt.Sprintf("it was to be made from namespace %s as of revision %d, which is no longer kept", n.From, why.Asked),
	})
	if hasCode(err, commands.CodeUnknownNamespace) {
		return nil
	}
	return err
}
