package health

import (
	"context"
	"errors"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// ledger is what a checker knows of a namespace. The checker's mutex guards it.
type ledger struct {
	checker   *Checker
	name      string
	instances map[string]map[string]*instance // by service and id
	aliases   map[string]*aliased             // by service
}

type instance struct {
	event.Registration

	health      event.Health
	credentials map[string]string
	targets     map[string]*target
}

// follow keeps what is known of a namespace up with its ledger, until ctx ends.
func (l *ledger) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.run(ctx)
		if ctx.Err() != nil || errors.Is(err, gateway.ErrClosed) {
			return
		}
		l.checker.config.Logger.Debug("following checks begins anew", "namespace", l.name, "error", err)
		_ = pause(ctx, retryAfter) // the loop sees why
	}
}

// run takes the instances from the state, and follows the events from there. It returns why it cannot go on.
func (l *ledger) run(ctx context.Context) error {
	var known []*instance
	var head event.Revision
	err := l.checker.host.View(ctx, l.name, gateway.ReadOptions{Stale: true}, func(v gateway.View) error {
		head = v.Head()
		for r, h := range v.WithHealth("") {
			credentials, _ := v.Credentials(r.Service, r.ID)
			known = append(known, &instance{Registration: r, health: h, credentials: credentials})
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.load(known)
	f, err := l.checker.host.Follow(l.name, head+1)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		events, err := f.Next(ctx)
		if err != nil {
			return err
		}
		l.checker.mu.Lock()
		for i := range events {
			l.apply(&events[i])
		}
		l.checker.mu.Unlock()
	}
}

// load has the namespace be as a state says.
func (l *ledger) load(known []*instance) {
	l.checker.mu.Lock()
	defer l.checker.mu.Unlock()
	there := map[*instance]bool{}
	for _, k := range known {
		i := l.register(k.Registration, k.health)
		i.credentials = k.credentials
		there[i] = true
	}
	for _, all := range l.instances {
		for _, i := range all {
			if !there[i] {
				l.remove(i.Service, i.ID)
			}
		}
	}
	for service := range l.aliases {
		l.touched(service)
	}
}

// apply takes an event in. c.mu is held.
func (l *ledger) apply(e *event.Event) {
	switch b := e.Body.(type) {
	case event.InstanceRegistered:
		var health event.Health
		var before *event.Instance
		if i := l.instances[b.Instance.Service][b.Instance.ID]; i != nil {
			health, before = i.health, &i.Instance
		}
		l.register(b.Registration(e.Commit, e.Time), health.Registered(before, b.Instance, e.Commit, e.Time))
		l.touched(b.Instance.Service)
	case event.InstanceDeregistered:
		l.remove(b.Service, b.ID)
		l.touched(b.Service)
	case event.InstanceExpired:
		l.remove(b.Service, b.ID)
		l.touched(b.Service)
	case event.InstanceStatus:
		if i := l.instances[b.Service][b.ID]; i != nil {
			i.health = i.health.Changed(b.Check, b.Status, e.Commit, e.Time)
			l.know(i)
		}
		l.touched(b.Service)
	case event.InstanceCredentials:
		if i := l.instances[b.Service][b.ID]; i != nil {
			i.credentials = b.Credentials
		}
	case event.InstanceMaintenance:
		l.touched(b.Service)
	case event.NodeMaintenance, event.NodeDeleted:
		for service := range l.aliases {
			l.touched(service)
		}
	}
}

// know takes the states of an instance's checks over.
func (l *ledger) know(i *instance) {
	for id, t := range i.targets {
		if s, ok := i.health.Check(id); ok && s != t.state {
			t.state, t.streak = s, streak{}
		}
	}
}

// register puts a registration in the place of one that may have been there.
func (l *ledger) register(r event.Registration, h event.Health) *instance {
	i := l.instances[r.Service][r.ID]
	if i == nil {
		if l.instances[r.Service] == nil {
			l.instances[r.Service] = map[string]*instance{}
		}
		i = &instance{targets: map[string]*target{}}
		l.instances[r.Service][r.ID] = i
	}
	for _, check := range i.Checks {
		if now, ok := r.Check(check.ID); check.TTL > 0 && (!ok || now.TTL == 0) {
			l.checker.outputs.drop(key{l.name, i.Service, i.ID, check.ID})
		}
	}
	i.Registration, i.health = r, h
	for id, t := range i.targets {
		if check, ok := r.Check(id); !ok || !looked(check) {
			l.forget(i, t)
		}
	}
	for _, check := range r.Checks {
		if looked(check) {
			l.ask(i, check)
		}
	}
	l.know(i)
	return i
}

// looked tells whether a server looks at the target of a check.
func looked(c event.Check) bool { return c.TTL == 0 && c.Interval > 0 }

// ask has a check of an instance looked at.
func (l *ledger) ask(i *instance, check event.Check) {
	c := l.checker
	t := i.targets[check.ID]
	if t != nil && t.check.SameTarget(check) {
		t.check = check
		t.phase = phaseOf(t.key, check)
		switch now := time.Now(); { // the interval may be another one
		case t.index < 0:
		case !t.looked.IsZero():
			c.enqueue(t, t.after(t.looked, now))
		case t.slot(now).Before(t.due): // what is to be looked at for the first time is not put off
			c.enqueue(t, t.slot(now))
		}
		return
	}
	if t != nil {
		l.forget(i, t)
	}
	k := key{l.name, i.Service, i.ID, check.ID}
	t = &target{key: k, hash: hashOf(k.namespace, k.service, k.id), check: check, instance: i, index: -1}
	t.phase = phaseOf(k, check)
	t.state, _ = i.health.Check(check.ID)
	i.targets[check.ID] = t
	if c.targets[k] = t; len(c.targets) == 1 {
		c.askSoon()
	}
	if check.Alias != nil {
		l.join(t)
	}
	if c.assigned(t) {
		c.take(t, time.Now())
	}
}

// phaseOf spreads the targets of one interval over it.
func phaseOf(k key, check event.Check) time.Duration {
	return time.Duration(hashOf(k.namespace, k.service, k.id, k.check) % uint64(check.Interval))
}

func (l *ledger) remove(service, id string) {
	i := l.instances[service][id]
	if i == nil {
		return
	}
	if delete(l.instances[service], id); len(l.instances[service]) == 0 {
		delete(l.instances, service)
	}
	for _, t := range i.targets {
		l.forget(i, t)
	}
	for _, check := range i.Checks {
		l.checker.outputs.drop(key{l.name, service, id, check.ID})
	}
}

// forget has a target looked at no more.
func (l *ledger) forget(i *instance, t *target) {
	c := l.checker
	t.gone = true
	c.release(t)
	c.outputs.drop(t.key)
	delete(i.targets, t.check.ID)
	if c.targets[t.key] == t {
		delete(c.targets, t.key)
	}
	if t.aliased != nil {
		l.part(t)
	}
}

// end has nothing be known of the namespace any more.
func (l *ledger) end() {
	l.load(nil)
	l.checker.mu.Lock()
	defer l.checker.mu.Unlock()
	if l.checker.ledgers[l.name] == l {
		delete(l.checker.ledgers, l.name)
	}
}
