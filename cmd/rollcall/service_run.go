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
	if c.TTLCheck != nil { // which is fine once the command runs
		run.beside = func(ctx context.Context) { kept.announced.Heartbeat(ctx, ttlCheck) }
	}
	return run.run(ctx, s)
}

// keptInstance is an instance that is registered while a command runs.
type keptInstance struct {
	session   *session
	instance  client.Instance
	drain     time.Duration // between leaving and stopping
	announced *client.Announcement
	warned    bool // of what the registration was accepted with
	failing   bool // to be reported as passing
}

func (k *keptInstance) register(ctx context.Context, live *client.LiveSession) (err error) {
	k.announced, err = live.Announce(ctx, k.instance, client.AnnounceOptions{OnChange: k.changed})
	return err
}

// changed tells people what they should know, once.
func (k *keptInstance) changed(s client.AnnouncementStatus) {
	service, id := plain(k.instance.Service), plain(k.instance.ID)
	for _, warning := range s.Warnings {
		if !k.warned {
			k.session.warnf("warning: %s", warning)
		}
	}
	k.warned = true
	switch {
	case !s.Registered: // it is over, and the command hears of it
	case errors.Is(s.Err, client.ErrNotFound):
		k.session.warnf("%s of %s is no longer registered with this check, and not reported any more: %v", id, service, s.Err)
	case s.Err != nil && !k.failing:
		k.session.warnf("%s of %s could not be reported as passing: %v", id, service, s.Err)
	}
	k.failing = s.Err != nil
}

// leave takes the instance out of discovery before its command stops, unless another one has taken its place: whoever
// registers the same id again elsewhere binds it to a session of its own. Should it fail, the end of the session does it.
func (k *keptInstance) leave(ctx context.Context) {
	request, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err := k.announced.Withdraw(request); err != nil && ctx.Err() == nil {
		k.session.warnf("%s of %s stays registered until the command has stopped: %v", plain(k.instance.ID), plain(k.instance.Service), err)
	}
	drained := time.NewTimer(k.drain)
	defer drained.Stop()
	select {
	case <-drained.C:
	case <-ctx.Done():
	}
}
