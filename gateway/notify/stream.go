package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rollcall/rollcall/log/event"
)

// The bounds on consumers keep what clients leave behind small: a server has as many as there are ordered
// consumers reading a namespace, and one that nobody reads any more is forgotten. Stock clients ask for five
// minutes.
const (
	consumersMax         = 8192
	consumerInactiveTime = 5 * time.Minute
)

// streamConfig describes the window of a namespace, beginning at a revision.
//
// What arrives on the fill subject is stored under the event's own: so a stream can be filled again without
// telling live subscribers what they know already.
func (f *feeder) streamConfig(first event.Revision) jetstream.StreamConfig {
	events, fill := subjectPrefix+f.namespace+".>", fillPrefix+f.namespace+".>"
	return jetstream.StreamConfig{
		Name:             Stream(f.namespace),
		Description:      "the events of namespace " + f.namespace + "; sequence = revision",
		Subjects:         []string{events, fill},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: fill, Destination: events},
		FirstSeq:         uint64(first),
		Storage:          jetstream.MemoryStorage,
		Replicas:         1,
		Retention:        jetstream.LimitsPolicy,
		Discard:          jetstream.DiscardOld,
		MaxBytes:         f.config.WindowBytes,
		MaxAge:           f.config.WindowAge,
		DenyDelete:       true,
		DenyPurge:        true,
		AllowDirect:      true,
		MaxConsumers:     consumersMax,
		ConsumerLimits:   jetstream.StreamConsumerLimits{InactiveThreshold: consumerInactiveTime},
	}
}

// align sees to it that the stream exists and holds the ledger up to f.confirmed and nothing else. (Requests about
// streams need no deadline here: the NATS library gives each five seconds.)
func (f *feeder) align(ctx context.Context) error {
	if f.exists {
		ok, err := f.adopt(ctx)
		if err != nil || ok {
			return err
		}
		f.log.Warn("stream is not what the ledger says; making it anew")
	}
	return f.rebuild(ctx)
}

// adopt takes over what the stream holds beyond f.confirmed: published, but its confirmation was lost. It
// reports false when the stream is not this ledger's.
func (f *feeder) adopt(ctx context.Context) (bool, error) {
	stream, err := f.js.Stream(ctx, Stream(f.namespace))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the stream: %w", err)
	}
	last := event.Revision(stream.CachedInfo().State.LastSeq)
	head, err := f.config.Backend.Head(f.namespace)
	if err != nil {
		return false, fmt.Errorf("find the ledger's head: %w", err)
	}
	if last < f.confirmed || last > head {
		return false, nil
	}
	if last == f.confirmed {
		return true, nil
	}
	follower, err := f.config.Backend.Follow(f.namespace, f.confirmed+1)
	if err != nil {
		return false, fmt.Errorf("follow the ledger from revision %d: %w", f.confirmed+1, err)
	}
	defer follower.Close()
	for f.confirmed < last {
		events, err := follower.Next(ctx)
		if err != nil {
			return false, fmt.Errorf("read the ledger: %w", err)
		}
		for _, e := range events {
			if e.Revision > last {
				break
			}
			if ok, err := f.holds(ctx, stream, e); err != nil || !ok {
				return false, err
			}
			f.advance(e.Revision)
		}
	}
	return true, nil
}

// holds tells whether the stream has an event in its place.
func (f *feeder) holds(ctx context.Context, stream jetstream.Stream, e event.Event) (bool, error) {
	got, err := stream.GetMsg(ctx, uint64(e.Revision))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read sequence %d of the stream: %w", e.Revision, err)
	}
	return got.Subject == Subject(f.namespace, e) && bytes.Equal(got.Data, f.writer.write(e, true).Data), nil
}

// rebuild makes the stream anew, empty, so that the window's first event comes next.
func (f *feeder) rebuild(ctx context.Context) error {
	f.exists = false
	head, err := f.config.Backend.Head(f.namespace)
	if err != nil {
		return fmt.Errorf("find the ledger's head: %w", err)
	}
	if f.history {
		f.history, f.goal, f.announced = false, head, head
	}
	first, err := windowStart(ctx, f.config.Backend, f.namespace, head, f.config.WindowBytes, oldestTime(time.Now(), f.config.WindowAge))
	if err != nil {
		return err
	}
	if err := f.js.DeleteStream(ctx, Stream(f.namespace)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream: %w", err)
	}
	if err := f.catchUp(ctx, first); err != nil {
		return err
	}
	if _, err := f.js.CreateStream(ctx, f.streamConfig(first)); err != nil {
		return fmt.Errorf("make the stream: %w", err)
	}
	f.exists = true
	f.advance(first - 1)
	return nil
}

// catchUp tells plain subscribers what the stream does not go back to, and they were not told yet: the end of a namespace whose
// feeder was too late for it, or all of one that was gone before it had a feeder. There is no stream that could take it for its own.
func (f *feeder) catchUp(ctx context.Context, first event.Revision) error {
	if f.announced == 0 || f.announced+1 >= first {
		return nil // it tells nobody what was before the server
	}
	follower, err := f.config.Backend.Follow(f.namespace, f.announced+1)
	if err != nil {
		return fmt.Errorf("follow the ledger from revision %d: %w", f.announced+1, err)
	}
	defer follower.Close()
	for f.announced+1 < first {
		events, err := follower.Next(ctx)
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		for _, e := range events {
			if e.Revision >= first {
				f.announced = first - 1 // numbers are left out by a restore
				break
			}
			if _, opened := e.Body.(event.NamespaceOpened); opened {
				f.between = false
			}
			if !f.between {
				if err := f.line.PublishMsg(f.writer.write(e, true)); err != nil {
					return fmt.Errorf("tell of revision %d: %w", e.Revision, err)
				}
				f.published = e.Revision
			}
			f.between = f.between || ends(e)
			f.announced = e.Revision
		}
		if err := f.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// dropStream takes the stream away.
func (f *feeder) dropStream(ctx context.Context) error {
	f.exists = false
	if err := f.js.DeleteStream(ctx, Stream(f.namespace)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream: %w", err)
	}
	return nil
}

// letRead waits until a stream's readers have been sent what is in it: its consumers go with it, and what they have not sent
// by then is lost, the end of the namespace first of all. Plain subscribers to the next namespace of that name wait as well, so
// once there is one it does not wait for long.
func (f *feeder) letRead(ctx context.Context) {
	began := time.Now()
	over := func() bool {
		took := time.Since(began)
		return took > f.config.LastRead || took > f.config.LastRead/5 && f.wanted.Load()
	}
	const looks = 2 // in a row: what a consumer has sent is on its way through the stream for a moment yet
	for sent := 0; sent < looks && ctx.Err() == nil && !over(); {
		readers, unsent := f.readers(ctx)
		if readers == 0 {
			return
		}
		if sent++; unsent {
			sent = 0
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// readers counts the consumers of the stream, and tells whether there is something that one of them has not sent.
func (f *feeder) readers(ctx context.Context) (n int, unsent bool) {
	stream, err := f.js.Stream(ctx, Stream(f.namespace))
	if err != nil {
		return 0, false // it is gone already, or cannot be asked
	}
	for c := range stream.ListConsumers(ctx).Info() {
		n++
		unsent = unsent || c.NumPending > 0
	}
	return n, unsent
}

// audit fails when the stream has lost or gained something behind the feeder's back.
func (f *feeder) audit(ctx context.Context) error {
	stream, err := f.js.Stream(ctx, Stream(f.namespace))
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	if last := stream.CachedInfo().State.LastSeq; last != uint64(f.confirmed) {
		return fmt.Errorf("the stream ends at sequence %d, not at revision %d", last, f.confirmed)
	}
	return nil
}
