package server

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// What a namespace is asked to keep to stands in _system's ledger; its own ledger, which its decisions see, is told by
// whoever took the request, and, where that one died in between, by the leader of its group. The leader also moves the
// namespace's floor, below which states are no longer kept: an event, so that all replicas refuse the same reads. What
// is stored of those states each replica deletes by itself, when it has the time (log/trim.go).

const (
	// retentionGrace is for how long a state is kept at least: the answer to a repeated request is found in the past, and
	// clocks differ.
	retentionGrace = time.Duration(event.RequestKept) + time.Minute
	// retentionStep is by how many revisions a floor moves at least: that it moved is a revision too, so an idle
	// namespace would never become silent.
	retentionStep = 2
)

// keepRetention runs until ctx ends.
func (s *Server) keepRetention(ctx context.Context) {
	for pause(ctx, time.Duration(s.config.RetentionEvery)) == nil {
		for _, group := range s.log.Groups() {
			if s.log.Leader(group) != s.identity.Replica {
				continue
			}
			for _, namespace := range s.placement.on(group) {
				err := s.retain(ctx, group, namespace)
				if err != nil && ctx.Err() == nil && !errors.Is(err, log.ErrNoLedger) {
					s.config.Logger.Warn("cannot see to a namespace's retention now", "namespace", namespace, "error", err)
				}
			}
		}
	}
}

// retain has a namespace that this server leads keep to its settings.
func (s *Server) retain(ctx context.Context, group uint64, namespace string) error {
	if namespace == event.System || s.version.Load() < commands.VersionLeases {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
	defer cancel()
	if err := s.applySettings(ctx, event.Namespace{Name: namespace, Group: group}); err != nil {
		return err
	}
	var settings event.Settings
	var floor, skipped event.Revision
	err := s.stale(namespace, func(v gateway.View) error {
		settings, floor, skipped = v.Settings(), v.Floor(), v.Restored().Skipped
		return nil
	})
	if err != nil || settings.Age == 0 && settings.Revisions == 0 {
		return err
	}
	now := time.Now()
	to, err := s.log.Find(group, namespace, func(db *store.DB, l store.Ledger) (event.Revision, error) {
		return floorFor(db, l, settings, skipped, now, s.config.retentionGrace)
	})
	if err != nil || to < floor+retentionStep {
		return err
	}
	_, err = s.submit(ctx, group, namespace, gateway.Request{
		Command: commands.TrimHistory{To: to}, Reason: "retention",
	})
	return outside(err)
}

// floorFor is the oldest revision that settings keep, in a ledger of which restores have left out so many.
func floorFor(db *store.DB, l store.Ledger, s event.Settings, skipped event.Revision, now time.Time, grace time.Duration) (event.Revision, error) {
	head := l.Head.Revision
	before := func(age time.Duration) (event.Revision, error) {
		return db.RevisionAt(l.ID, head, event.Time(now.Add(-age).UnixNano()))
	}
	floor, err := before(grace)
	if err == nil && s.Age > 0 {
		var aged event.Revision
		aged, err = before(time.Duration(s.Age))
		floor = min(floor, aged)
	}
	if err == nil && s.Revisions > 0 {
		var counted event.Revision
		counted, err = lastOf(db, l, event.Revision(s.Revisions), skipped)
		floor = min(floor, counted)
	}
	return floor, err
}

// lastOf is the revision before the last n of a ledger. Those that a restore has left out are none: while the last one is
// among the last n, more is kept than was asked for.
func lastOf(db *store.DB, l store.Ledger, n, skipped event.Revision) (_ event.Revision, err error) {
	defer store.Catch(&err)
	head := l.Head.Revision
	at := head - min(head, n)
	if skipped > 0 {
		table, key := projections.RestoredRow()
		for restored := range db.Touches(l.ID, table, key, head) {
			if at < restored {
				at -= min(at, skipped)
			}
			break
		}
	}
	return db.Floor(l.ID, at)
}

// applySettings carries what a namespace is asked to keep to into its own ledger, where that lags behind.
func (s *Server) applySettings(ctx context.Context, n event.Namespace) error {
	var wish, holds event.Settings
	err := s.stale(event.System, func(v gateway.View) error {
		wish, _ = v.Wish(n.Name)
		return nil
	})
	if err != nil || wish.Configured == 0 {
		return err
	}
	err = s.peek(n.Group, n.Name, func(v projections.View) error {
		holds = v.Settings()
		return nil
	})
	if err != nil || holds.Configured >= wish.Configured {
		return err
	}
	_, err = s.submit(ctx, n.Group, n.Name, gateway.Request{Command: commands.ApplySettings{
		Namespace: n.Name, Keys: wish.Keys, Bytes: wish.Bytes, Age: wish.Age, Revisions: wish.Revisions, TTL: wish.TTL, Configured: wish.Configured,
	}})
	return err
}

// collectRetention gives the numbers of one namespace to who counts them.
func (s *Server) collectRetention(namespace string, gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	group, err := s.placement.group(namespace)
	if err != nil {
		return
	}
	head, err := s.log.Head(group, namespace)
	if err != nil {
		return
	}
	gauge(descKeys, float64(head.Live.Rows), namespace)
	gauge(descBytes, float64(head.Live.Bytes), namespace)
	gauge(descFloor, float64(head.Floor), namespace)
	if rows, _, err := s.log.Trimmed(group, namespace); err == nil {
		counter(descTrimmed, rows, namespace)
	}
}
