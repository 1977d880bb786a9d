package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// A namespace begins and ends in two ledgers, _system's and its own, and no commit spans both. It begins in _system's,
// which places it; its own is opened then, and filled where it takes over what another one holds. It ends in its own,
// by one event, behind which nobody is shown anything of it; _system's says so next, and then its own is emptied. Whoever
// took the request does that, and the leader of its group goes on where that one died: each step is seen from where the
// two ledgers stand, and may be done again.

const (
	// livesEvery is how often a leader looks for what was left half done; what it sees begin and end itself it carries on
	// at once.
	livesEvery = 2 * time.Second
	// fillBytes is about how many bytes of keys and values are taken over in one commit.
	fillBytes = event.TxnBytesMax / 2
)

// unseen refuses what speaks of a namespace that is not there, or not yet; nil where it is.
func unseen(namespace string, p event.Phase) error {
	if p.Ended() {
		return gateway.UnknownNamespaceError{Namespace: namespace}
	}
	if r := commands.Unseen(namespace, p); r != nil {
		return r
	}
	return nil
}

// isUnseen tells whether an error says that a namespace is not there, or not yet, which its ledger decides and not this
// server.
func isUnseen(err error) bool {
	if _, unknown := errors.AsType[gateway.UnknownNamespaceError](err); unknown {
		return true
	}
	r, ok := errors.AsType[*commands.Rejection](err)
	return ok && (r.Code == commands.CodeUnknownNamespace || r.Code == commands.CodeNamespaceFilling || r.Code == commands.CodeNamespaceEnding)
}

func hasCode(err error, code commands.Code) bool {
	r, ok := errors.AsType[*commands.Rejection](err)
	return ok && r.Code == code
}

// present refuses to show the past of a namespace that is not there now.
func present(db *store.DB, l store.Ledger) (err error) {
	defer store.Catch(&err)
	rows := db.Rows(l.ID, l.Head.Revision)
	defer func() { err = errors.Join(err, rows.Close()) }()
	return unseen(l.Name, projections.Life(rows).Phase)
}

// endsLife tells whether an event ends its namespace.
func endsLife(e event.Event) bool {
	switch e.Body.(type) {
	case event.NamespaceClosed, event.NamespaceExpired:
		return true
	}
	return false
}

// changesLife tells whether an event changes whether its namespace is seen.
func changesLife(e event.Event) bool {
	switch e.Body.(type) {
	case event.NamespaceOpened, event.NamespaceFilled:
		return true
	}
	return endsLife(e)
}

// peek runs fn on a ledger as this server has it, whether its namespace is seen or not.
func (s *Server) peek(group uint64, namespace string, fn func(projections.View) error) error {
	return outside(s.log.View(group, namespace, nil, func(rows store.Reader, revision event.Revision) error {
		return fn(projections.NewView(rows, revision))
	}))
}

// life is where a ledger stands on this server; open is false where it was never opened.
func (s *Server) life(group uint64, namespace string) (life event.Life, open bool) {
	err := s.peek(group, namespace, func(v projections.View) error {
		life, open = v.Life(), v.Head() > 0
		return nil
	})
	return life, err == nil && open
}

// toOpen tells whether a ledger is still to be opened for a placement: it is where one of that name ended.
func toOpen(n event.Namespace, life event.Life) bool {
	return life.Placed < n.Revision && (life.Phase.Ended() || n.Previous > 0)
}

// placed gives a namespace as _system's ledger places it, as far as this server knows.
func (s *Server) placed(namespace string) (n event.Namespace, ok bool) {
	err := s.peek(systemGroup, event.System, func(v projections.View) error {
		n, ok = v.Namespace(namespace)
		return nil
	})
	return n, ok && err == nil
}

// place gives a namespace as _system's ledger places it now, or what it remembers of one that was deleted.
func (s *Server) place(ctx context.Context, namespace string) (n event.Namespace, ok bool, gone event.Gone, was bool, err error) {
	if err = s.log.Barrier(ctx, systemGroup); err != nil {
		return n, false, gone, false, outside(err)
	}
	err = s.peek(systemGroup, event.System, func(v projections.View) error {
		n, ok = v.Namespace(namespace)
		gone, was = v.Gone(namespace)
		return nil
	})
	return n, ok, gone, was, err
}

// mayBegin refuses to make, or to configure, a namespace that is being deleted. It gives the revision of the one that it
// is to be made from.
func (s *Server) mayBegin(ctx context.Context, c commands.ConfigureNamespace) (from event.Revision, err error) {
	n, exists, gone, was, err := s.place(ctx, c.Namespace)
	if err != nil {
		return 0, err
	}
	group := n.Group
	if !exists {
		group = gone.Group
	}
	if exists || was {
		if err := s.log.Barrier(ctx, group); err != nil {
			return 0, outside(err)
		}
		err := s.peek(group, c.Namespace, func(v projections.View) error {
			switch life := v.Life(); {
			case exists && life.Phase.Ended() && life.Placed >= n.Revision, // _system's ledger is to hear of it yet
				!exists && !(life.Phase.Ended() && commands.Empty(v)):
				return commands.Ending(c.Namespace)
			}
			return nil
		})
		if err != nil && !errors.Is(err, log.ErrNoLedger) {
			return 0, err
		}
	}
	if exists || c.From == "" {
		return 0, nil
	}
	err = s.View(ctx, c.From, gateway.ReadOptions{}, func(v gateway.View) error {
		from = v.Head()
		return fits(c, v)
	})
	return from, err
}

// fits refuses to make a namespace whose quotas are less than what it would take over.
func fits(c commands.ConfigureNamespace, v gateway.View) error {
	within := func(u event.Usage) bool {
		return (c.Keys == nil || *c.Keys == 0 || u.Keys <= *c.Keys) && (c.Bytes == nil || *c.Bytes == 0 || u.Bytes <= *c.Bytes)
	}
	if within(v.Usage) {
		return nil
	}
	var u event.Usage // what has a lease is not taken over, so it has to be counted
	for e := range permanent(v.View, "") {
		u.Keys, u.Bytes = u.Keys+1, u.Bytes+uint64(len(e.Key)+len(e.Value))
	}
	if within(u) {
		return nil
	}
	return &commands.Rejection{Code: commands.CodeQuotaExceeded, Message: fmt.Sprintf(
		"namespace %q would take over %d keys, of %d bytes with their values, from %q: that is more than the quota it is to have", c.Namespace, u.Keys, u.Bytes, c.From)}
}

// begin has a namespace that _system's ledger places be there: open, as it was configured, and with what it is to hold.
// From is what the request wants it to be made from.
func (s *Server) begin(ctx context.Context, namespace, from string) error {
	n, ok := s.placed(namespace) // what was decided was applied here, or there would be no answer
	if !ok {
		return commands.Ending(namespace)
	}
	err := s.openNamespace(ctx, n)
	filling := hasCode(err, commands.CodeNamespaceFilling)
	if _, unknown := errors.AsType[gateway.UnknownNamespaceError](err); unknown || hasCode(err, commands.CodeUnknownNamespace) {
		return commands.Ending(namespace) // it ended just now
	}
	if err != nil && !filling {
		return err
	}
	if err := s.applySettings(ctx, n); err != nil {
		return err
	}
	if !filling {
		return nil
	}
	if from == "" {
		return err // it is not the one who asks that makes it
	}
	if err := s.fill(ctx, n); err != nil {
		return err
	}
	return s.admit(n.Name, n.Group)
}

// renewNamespace gives a namespace its whole TTL again.
func (s *Server) renewNamespace(ctx context.Context, namespace string) error {
	_, err := s.Renew(ctx, namespace, gateway.Lease{Namespace: true})
	if errors.Is(err, gateway.ErrNoLease) || hasCode(err, commands.CodeUnknownNamespace) {
		return commands.Ending(namespace) // it ended just now
	}
	return err
}

// deleteNamespace ends a namespace, and has _system's ledger say so. The answer is that of _system's ledger.
func (s *Server) deleteNamespace(ctx context.Context, c commands.DeleteNamespace, r gateway.Request) (commands.Answer, error) {
	n, exists, gone, was, err := s.place(ctx, c.Namespace)
	switch {
	case err != nil:
		return commands.Answer{}, err
	case !exists && was && r.Key != "": // it may be this very request that has deleted it
		n = event.Namespace{Name: gone.Name, Group: gone.Group, Revision: gone.Placed}
	case !exists:
		return commands.Answer{}, gateway.UnknownNamespaceError{Namespace: c.Namespace}
	default:
		if err := s.openNamespace(ctx, n); err != nil && !isUnseen(err) {
			return commands.Answer{}, err
		}
	}
	closing := r
	closing.Command = commands.CloseNamespace{Namespace: n.Name, Placed: n.Revision}
	closed, err := s.submit(ctx, n.Group, n.Name, closing)
	if hasCode(err, commands.CodeUnknownNamespace) {
		// It has ended already. That it is shown nowhere any more need not wait for whoever ended it.
		return commands.Answer{}, errors.Join(err, s.sayDeleted(ctx, n))
	}
	if err != nil {
		return commands.Answer{}, err
	}
	c.Placed, c.Closed = n.Revision, closed.Revision
	if life, _ := s.life(n.Group, n.Name); life.Since != closed.Revision {
		c.Placed = 0 // this request has ended one of that name that was made anew since: it is not to end that one too
	}
	r.Command = c
	answer, err := s.submit(ctx, systemGroup, event.System, r)
	if err == nil && c.Placed != 0 {
		s.release(c.Namespace) // so that DNS here does not show it to whoever has the answer
	}
	s.wakeLives()
	return answer, err
}

// rehearseDelete gives a deletion as it would be decided now.
func (s *Server) rehearseDelete(ctx context.Context, c commands.DeleteNamespace) (commands.Command, error) {
	n, exists, _, _, err := s.place(ctx, c.Namespace)
	if err == nil && !exists {
		err = gateway.UnknownNamespaceError{Namespace: c.Namespace}
	}
	if err != nil {
		return nil, err
	}
	err = s.View(ctx, c.Namespace, gateway.ReadOptions{}, func(v gateway.View) error {
		c.Placed, c.Closed = n.Revision, v.Head()+1
		return nil
	})
	return c, err
}

// sayDeleted has _system's ledger say that a namespace is no more which has ended in its own, with who ended it and why.
func (s *Server) sayDeleted(ctx context.Context, n event.Namespace) error {
	life, _ := s.life(n.Group, n.Name)
	if !life.Phase.Ended() || life.Placed < n.Revision {
		return nil
	}
	f, err := s.log.Follow(n.Group, n.Name, life.Since)
	if err != nil {
		return outside(err)
	}
	events, err := f.Next(ctx)
	if err != nil {
		return outside(err)
	}
	_, err = s.submit(ctx, systemGroup, event.System, gateway.Request{
		Actor: events[0].Actor, Reason: events[0].Reason, Command: commands.DeleteNamespace{
			Namespace: n.Name, Placed: n.Revision, Closed: life.Since, Expired: life.Phase == event.Expired,
		},
	})
	if hasCode(err, commands.CodeUnknownNamespace) {
		return nil // somebody has said so, and it was even made again
	}
	return err
}

// wakeLives has a leader look at once for what is to be carried on.
func (s *Server) wakeLives() {
	select {
	case s.lives <- struct{}{}:
	default:
	}
}

// keepLives carries on, until ctx ends, what begins and ends in the groups that this server leads.
func (s *Server) keepLives(ctx context.Context) {
	tick := time.NewTicker(livesEvery)
	defer tick.Stop()
	k := lifekeeper{server: s, emptied: map[string]event.Revision{}, filling: map[string]progress{}}
	for {
		if s.version.Load() >= commands.VersionHealth {
			k.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.lives:
		}
	}
}

// lifekeeper carries on what others have left half done. It belongs to one goroutine.
type lifekeeper struct {
	server  *Server
	emptied map[string]event.Revision // the deletions of which nothing is left to do
	filling map[string]progress
}

// progress is how far the filling of a namespace had come, and when that was seen first.
type progress struct {
	head event.Revision
	time time.Time
}

func (k *lifekeeper) look(ctx context.Context) {
	s := k.server
	var live []event.Namespace
	var gone []event.Gone
	err := s.peek(systemGroup, event.System, func(v projections.View) error {
		for n := range v.Namespaces() {
			live = append(live, n)
		}
		for g := range v.AllGone() {
			gone = append(gone, g)
		}
		return nil
	})
	carry := func(namespace string, group uint64, step func(context.Context) error) {
		if ctx.Err() != nil || s.log.Leader(group) != s.identity.Replica {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
		defer cancel()
		if err := step(attempt); err != nil && ctx.Err() == nil {
			s.config.Logger.Warn("cannot carry on with a namespace now", "namespace", namespace, "error", err)
		}
	}
	if err != nil {
		return // _system's ledger is not there yet
	}
	for _, n := range live {
		carry(n.Name, n.Group, func(ctx context.Context) error { return k.carryOn(ctx, n) })
	}
	known := map[string]event.Revision{}
	for _, g := range gone {
		if k.emptied[g.Name] != g.Revision {
			carry(g.Name, g.Group, func(ctx context.Context) error { return k.empty(ctx, g) })
		}
		if k.emptied[g.Name] == g.Revision {
			known[g.Name] = g.Revision
		}
	}
	k.emptied = known // without those that were made again
}

// carryOn goes on with a namespace that _system's ledger places.
func (k *lifekeeper) carryOn(ctx context.Context, n event.Namespace) error {
	s := k.server
	life, open := s.life(n.Group, n.Name)
	if life.Phase != event.Filling {
		delete(k.filling, n.Name)
	}
	switch {
	case !open:
		return nil // every server opens it that hears of it
	case toOpen(n, life):
		// One of that name is still there, or not emptied, though _system's ledger has placed the next one: it was restored
		// from a snapshot that saw the two ledgers at different moments.
		if err := s.end(ctx, n.Group, n.Name, life, n.Revision-1); err != nil {
			return err
		}
		if err := s.openNamespace(ctx, n); err != nil && !isUnseen(err) {
			return err
		}
		return nil
	case life.Phase.Ended():
		return s.sayDeleted(ctx, n)
	case life.Phase == event.Filling:
		return k.goOnFilling(ctx, n)
	}
	return nil
}

// goOnFilling fills a namespace that nobody else seems to fill.
func (k *lifekeeper) goOnFilling(ctx context.Context, n event.Namespace) error {
	head, err := k.server.log.Head(n.Group, n.Name)
	if err != nil {
		return err
	}
	seen, ok := k.filling[n.Name]
	if !ok || seen.head != head.Revision {
		k.filling[n.Name] = progress{head.Revision, time.Now()}
		return nil
	}
	if time.Since(seen.time) < livesEvery {
		return nil
	}
	if err := k.server.applySettings(ctx, n); err != nil {
		return err
	}
	return k.server.fill(ctx, n)
}

// empty empties the ledger of a namespace that was deleted.
func (k *lifekeeper) empty(ctx context.Context, g event.Gone) error {
	life, open := k.server.life(g.Group, g.Name)
	if open {
		if err := k.server.end(ctx, g.Group, g.Name, life, g.Placed); err != nil {
			return err
		}
	}
	k.emptied[g.Name] = g.Revision
	return nil
}

// end ends what is in a ledger from a placement up to the given one, and empties it.
func (s *Server) end(ctx context.Context, group uint64, namespace string, life event.Life, placed event.Revision) error {
	if !life.Phase.Ended() {
		if life.Placed > placed {
			return nil
		}
		_, err := s.submit(ctx, group, namespace, gateway.Request{
			Command: commands.CloseNamespace{Namespace: namespace, Placed: placed}, Reason: "it was deleted before",
		})
		if err != nil && !hasCode(err, commands.CodeUnknownNamespace) {
			return err
		}
	}
	for {
		answer, err := s.submit(ctx, group, namespace, gateway.Request{
			Command: commands.ClearNamespace{Namespace: namespace}, Reason: "the namespace was deleted",
		})
		if hasCode(err, commands.CodeInvalidNamespace) {
			return nil // it was made again, so it was emptied
		}
		if err != nil || !answer.Results[0].More {
			return err
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

// fill has a namespace take over what the one that it is made from held, by several commits at once or one after the
// other, whoever made the others. What it has already is passed over.
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
		err = s.await(ctx, group, n.From, n.FromRevision)
	}
	if err != nil {
		return err
	}
	for after, done := "", false; !done; {
		c := commands.FillNamespace{Namespace: n.Name, Placed: n.Revision}
		c.Entries, after, done, err = s.missing(group, n, after)
		if trimmed, ok := errors.AsType[gateway.TrimmedError](err); ok {
			return errors.Join(err, s.giveUp(ctx, n, trimmed))
		}
		if err != nil {
			return err
		}
		if c.Done = done; len(c.Entries) == 0 && !done {
			continue
		}
		if _, err := s.submit(ctx, n.Group, n.Name, gateway.Request{Command: c, Reason: "it is made from namespace " + n.From}); err != nil {
			return err
		}
	}
	return nil
}

// missing gives some keys that a namespace is still to take over, behind one that was dealt with, and up to where that is;
// done says that there are no more.
func (s *Server) missing(group uint64, n event.Namespace, after string) (entries []commands.FillEntry, upTo string, done bool, err error) {
	at := func(db *store.DB, l store.Ledger) (event.Revision, error) { return db.Floor(l.ID, n.FromRevision) }
	size := 0
	done, upTo = true, after
	err = outside(s.log.View(group, n.From, at, func(rows store.Reader, revision event.Revision) error {
		for e := range permanent(projections.NewView(rows, revision), after) {
			if len(entries) == event.FillEntriesMax || size >= fillBytes {
				done = false
				break
			}
			size += len(e.Key) + len(e.Value)
			upTo = e.Key
			entries = append(entries, commands.FillEntry{Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags})
		}
		return nil
	}))
	if err != nil {
		return nil, after, false, err
	}
	err = s.peek(n.Group, n.Name, func(v projections.View) error {
		var left []commands.FillEntry
		for _, e := range entries {
			if _, ok := v.Key(e.Key); !ok {
				left = append(left, e)
			}
		}
		entries = left
		return nil
	})
	return entries, upTo, done, err
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
