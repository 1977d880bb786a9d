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
	return s.awaitFilled(ctx, n)
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
		err = s.release(c.Namespace, n.Revision) // so that DNS here does not show it to whoever has the answer
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

// lifekeeper sees what others have left half done, and has it carried on. It belongs to one goroutine, and waits for nobody.
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
	if err != nil {
		return // _system's ledger is not there yet
	}
	mine := func(namespace string, group uint64) bool {
		return ctx.Err() == nil && s.log.Leader(group) == s.identity.Replica && !s.chores.busy(namespace)
	}
	filling := map[string]progress{}
	for _, n := range live {
		s.admitAgain(n)
		if seen, ok := k.filling[n.Name]; ok {
			filling[n.Name] = seen
		}
		if mine(n.Name, n.Group) {
			k.carryOn(n, filling)
		}
	}
	k.filling = filling // without those that are gone
	emptied := map[string]event.Revision{}
	for _, g := range gone {
		if k.emptied[g.Name] == g.Revision || mine(g.Name, g.Group) && k.empty(g) {
			emptied[g.Name] = g.Revision
		}
	}
	k.emptied = emptied // without those that were made again
}

// admitAgain shows a namespace that is open, and that this server does not show: whoever opened it may not have known that
// it was still to be let go here.
func (s *Server) admitAgain(n event.Namespace) {
	if _, unknown := s.placement.group(n.Name); unknown == nil {
		return
	}
	life, open := s.life(n.Group, n.Name)
	if !open || life.Phase != event.Open || toOpen(n, life) {
		return
	}
	if err := s.admit(n.Name, n.Group); err != nil && !isUnseen(err) {
		s.config.Logger.Warn("cannot show a namespace now", "namespace", n.Name, "error", err)
	}
}

// carryOn has somebody go on with a namespace that _system's ledger places.
func (k *lifekeeper) carryOn(n event.Namespace, filling map[string]progress) {
	s := k.server
	life, open := s.life(n.Group, n.Name)
	if life.Phase != event.Filling {
		delete(filling, n.Name)
	}
	switch {
	case !open: // every server opens it that hears of it
	case toOpen(n, life):
		// One of that name is still there, or not emptied, though _system's ledger has placed the next one: it was made again
		// on what another server had not emptied yet, or restored from a snapshot that saw the two ledgers at different moments.
		s.chores.begin(s, n.Name, s.chores.ends, func(ctx context.Context) error {
			if err := s.end(ctx, n.Group, n.Name, life, n.Revision-1); err != nil {
				return err
			}
			return s.attempt(ctx, func(ctx context.Context) error {
				if err := s.openNamespace(ctx, n); err != nil && !isUnseen(err) {
					return err
				}
				return nil
			})
		})
	case life.Phase.Ended():
		s.chores.begin(s, n.Name, s.chores.ends, func(ctx context.Context) error {
			return s.attempt(ctx, func(ctx context.Context) error { return s.sayDeleted(ctx, n) })
		})
	case life.Phase == event.Filling:
		k.goOnFilling(n, filling)
	}
}

// goOnFilling has a namespace filled that nobody else seems to fill.
func (k *lifekeeper) goOnFilling(n event.Namespace, filling map[string]progress) {
	s := k.server
	head, err := s.log.Head(n.Group, n.Name)
	if err != nil {
		return // the log ends
	}
	seen, ok := filling[n.Name]
	if !ok || seen.head != head.Revision {
		filling[n.Name] = progress{head.Revision, time.Now()}
		return
	}
	if time.Since(seen.time) < livesEvery {
		return
	}
	s.chores.begin(s, n.Name, s.chores.fills, func(ctx context.Context) error {
		err := s.attempt(ctx, func(ctx context.Context) error { return s.applySettings(ctx, n) })
		if err != nil {
			return err
		}
		return s.fill(ctx, n)
	})
}

// empty has the ledger of a namespace emptied that was deleted; it tells whether nothing is left to do.
func (k *lifekeeper) empty(g event.Gone) (done bool) {
	s := k.server
	var life event.Life
	err := s.peek(g.Group, g.Name, func(v projections.View) error {
		life = v.Life()
		done = life.Phase.Ended() && commands.Empty(v) || !life.Phase.Ended() && life.Placed > g.Placed
		return nil
	})
	if errors.Is(err, log.ErrNoLedger) {
		return true
	}
	if err == nil && !done {
		s.chores.begin(s, g.Name, s.chores.ends, func(ctx context.Context) error {
			return s.end(ctx, g.Group, g.Name, life, g.Placed)
		})
	}
	return done
}

// end ends what is in a ledger from a placement up to the given one, and empties it.
func (s *Server) end(ctx context.Context, group uint64, namespace string, life event.Life, placed event.Revision) error {
	if !life.Phase.Ended() {
		if life.Placed > placed {
			return nil
		}
		err := s.attempt(ctx, func(ctx context.Context) error {
			_, err := s.submit(ctx, group, namespace, gateway.Request{
				Command: commands.CloseNamespace{Namespace: namespace, Placed: placed}, Reason: "it was deleted before",
			})
			return err
		})
		if err != nil && !hasCode(err, commands.CodeUnknownNamespace) {
			return err
		}
	}
	for from := ""; ; {
		var answer commands.Answer
		err := s.attempt(ctx, func(ctx context.Context) (err error) {
			answer, err = s.submit(ctx, group, namespace, gateway.Request{
				Command: commands.ClearNamespace{Namespace: namespace, From: from}, Reason: "the namespace was deleted",
			})
			return err
		})
		if hasCode(err, commands.CodeInvalidNamespace) {
			return nil // it was made again, so it was emptied
		}
		if err != nil || !answer.Results[0].More {
			return err
		}
		from = answer.Results[0].Key
	}
}
