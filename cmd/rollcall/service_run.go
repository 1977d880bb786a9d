package main

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall/rollcall/client"
)

// runTTL is for how long an instance stays that a command kept, when nobody hears of it any more.
const runTTL = 15 * time.Second

// runWith keeps an instance registered while a command runs.
func (c serviceRegisterCmd) runWith(ctx context.Context, s *session, i client.Instance) error {
	switch {
	case c.Command[0] != "--":
		return misusef("%q is one word too many; the command to run stands behind \"--\"", c.Command[0])
	case len(c.Command) == 1:
		return misusef("name the command to run: rollcall service register NAME --address ADDRESS -- COMMAND")
	case c.Session != "":
		return misusef("an instance that is registered while a command runs has a session of its own: leave out --session")
	case c.DryRun:
		return misusef("--dry-run rehearses the registration alone: leave out the command")
	}
	ttl := runTTL
	if i.TTL != 0 { // it says the same thing of the session, and an instance ends with one of the two
		ttl, i.TTL = i.TTL, 0
	}
	kept := keptInstance{session: s, instance: i, drain: c.Drain}
	run := leasedRun{
		words: c.Command[1:], options: client.SessionOptions{TTL: ttl}, grace: c.Grace,
		env:   []string{"ROLLCALL_SERVICE=" + i.Service, "ROLLCALL_INSTANCE=" + i.ID},
		begin: kept.register, leave: kept.leave,
	}
	if c.TTLCheck != nil {
		run.beside = func(ctx context.Context, cl *client.Client) { kept.report(ctx, cl, *c.TTLCheck) }
	}
	return run.run(ctx, s)
}

// keptInstance is an instance that is registered while a command runs.
type keptInstance struct {
	session  *session
	instance client.Instance
	drain    time.Duration // between leaving and stopping
}

func (k keptInstance) register(ctx context.Context, cl *client.Client, session string) error {
	k.instance.Session = session
	w, err := cl.Register(ctx, k.instance)
	for _, warning := range w.Warnings {
		k.session.warnf("warning: %s", warning)
	}
	return err
}

// leave takes the instance out of discovery before its command stops, unless another one has taken its place: whoever
// registers the same id again elsewhere binds it to a session of its own. Should it fail, the end of the session does it.
func (k keptInstance) leave(ctx context.Context, cl *client.Client, session string) {
	service, id := k.instance.Service, k.instance.ID
	request, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	now, err := cl.Instance(request, service, id)
	if err == nil && now.Session == session {
		_, err = cl.Deregister(request, service, id)
	}
	if err != nil && !errors.Is(err, client.ErrNotFound) && ctx.Err() == nil {
		k.session.warnf("%s of %s stays registered until the command has stopped: %v", plain(id), plain(service), err)
	}
	drained := time.NewTimer(k.drain)
	defer drained.Stop()
	select {
	case <-drained.C:
	case <-ctx.Done():
	}
}

// reportParts is how often a TTL check is reported in its TTL: two attempts may fail.
const reportParts = 3

// report says that the instance is passing, again and again. What stands in the way of one report may not stand in that of
// the next; but an instance that is gone has been taken away on purpose.
func (k keptInstance) report(ctx context.Context, cl *client.Client, ttl time.Duration) {
	service, id := k.instance.Service, k.instance.ID
	tick := time.NewTicker(max(ttl/reportParts, time.Millisecond))
	defer tick.Stop()
	failing := false
	for {
		err := k.reportOnce(ctx, cl, max(ttl/2, time.Second))
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, client.ErrNotFound):
			k.session.warnf("%s of %s is no longer registered with this check, and not reported any more: %v", plain(id), plain(service), err)
			return
		case err != nil && !failing:
			k.session.warnf("%s of %s could not be reported as passing: %v", plain(id), plain(service), err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reportOnce bounds an attempt: a server that accepts and then is silent must not eat the time of the next one.
func (k keptInstance) reportOnce(ctx context.Context, cl *client.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := cl.Report(ctx, k.instance.Service, k.instance.ID, ttlCheck, client.Passing, "")
	return err
}
