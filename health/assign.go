package health

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// Who looks at what. One server coordinates: the leader of _system's group. Every server asks it, about once a second,
// and gets a lease with two lists of servers, that of now and that of next. An instance's share goes to the one of a list
// that rendezvous hashing says, and a server looks only at what both lists give it. So while the lists differ, nobody looks
// at what changes hands; they become one again when every server with a lease has said that it goes by the new list, or its
// lease has run out.
//
// A lease counts, for who has it, from when it asked; for the coordinator, from when it answered, and a little longer. An
// answer is given only when the coordinator was confirmed to lead after the question had arrived, and one that begins to
// lead gives nothing out before any lease of another one has run out.

// The times of the assignment.
const (
	// Lease is for how long a server may look at targets without hearing from the coordinator.
	Lease = 3 * time.Second
	// leaseGrace is how much longer the coordinator takes it to look, for clocks do not run alike.
	leaseGrace = Lease / 10
	// missedAfter is when the checks of a server that does not ask any more are to go to others; they begin when its lease
	// has run out.
	missedAfter = 2500 * time.Millisecond
	pollEvery   = time.Second
	pollSoon    = 200 * time.Millisecond // while something changes, or nobody answers
)

// Candidate is a server that may look at targets.
type Candidate struct {
	Name     string `json:"name"`
	Commands bool   `json:"commands,omitempty"` // it runs programs
}

// Position names what a coordinator has said.
type Position struct {
	Coordinator string `json:"coordinator,omitempty"` // one server's one time of leading
	Version     uint64 `json:"version,omitempty"`
}

// Poll is what a server asks the coordinator.
type Poll struct {
	Candidate
	// Process is the server's process. What one says that has ended may arrive when the next one looks already.
	Process string `json:"process,omitempty"`
	// Suspect says that it takes itself for what fails; Leave that it looks at nothing any more.
	Suspect bool `json:"suspect,omitempty"`
	Leave   bool `json:"leave,omitempty"`
	// Seen is the last that it goes by.
	Seen Position `json:"seen,omitzero"`
}

// Grant is the coordinator's answer.
type Grant struct {
	Position
	Granted  bool        `json:"granted,omitempty"` // it is a lease
	Current  []Candidate `json:"current,omitempty"`
	Next     []Candidate `json:"next,omitempty"`
	Suspects []Candidate `json:"suspects,omitempty"` // those that take themselves for what fails, and are in neither list for it
}

// Coordinator keeps the lists. It is told the time and whether it leads, and may be called concurrently.
type Coordinator struct {
	name string

	mu       sync.Mutex
	term     uint64
	began    time.Time // of the term
	version  uint64
	current  []Candidate
	next     []Candidate
	suspects []Candidate
	checkers map[string]*checkerState
}

type checkerState struct {
	Candidate

	process string
	suspect bool
	polled  time.Time
	expires time.Time // of its lease
	seen    uint64    // the version that it goes by
}

// NewCoordinator makes the coordinator of a server, which leads nothing yet.
func NewCoordinator(server string) *Coordinator { return &Coordinator{name: server} }

// Lead notes that its server leads. A term is one time of leading: another one begins without knowing who has leases.
func (c *Coordinator) Lead(now time.Time, term uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checkers == nil || c.term != term {
		c.term, c.began, c.version, c.current, c.next, c.suspects = term, now, 0, nil, nil, nil
		c.checkers = map[string]*checkerState{}
	}
}

// Arrive notes a question.
func (c *Coordinator) Arrive(now time.Time, term uint64, p Poll) {
	c.Lead(now, term)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != term {
		return // another one began just now
	}
	s := c.checkers[p.Name]
	if p.Leave {
		if s != nil && s.process == p.Process {
			delete(c.checkers, p.Name)
		}
		return
	}
	if s == nil {
		s = &checkerState{}
		c.checkers[p.Name] = s
	}
	s.Candidate, s.process, s.suspect, s.polled = p.Candidate, p.Process, p.Suspect, now
	if p.Seen.Coordinator == c.id() {
		s.seen = p.Seen.Version
	}
}

// Grant answers a question that has arrived in the same term, when it was confirmed since that the term is not over.
func (c *Coordinator) Grant(now time.Time, term uint64, p Poll) Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.checkers[p.Name]
	if c.term != term || s == nil || now.Sub(c.began) < Lease+leaseGrace {
		return Grant{}
	}
	c.update(now)
	s.expires = now.Add(Lease + leaseGrace)
	return Grant{
		Position: Position{c.id(), c.version}, Granted: true,
		Current: c.current, Next: c.next, Suspects: c.suspects,
	}
}

func (c *Coordinator) id() string { return fmt.Sprintf("%s@%d", c.name, c.began.UnixNano()) }

// update brings the lists up to who is there. c.mu is held.
func (c *Coordinator) update(now time.Time) {
	var able, suspects []Candidate
	for name, s := range c.checkers {
		switch {
		case now.Sub(s.polled) < missedAfter && s.suspect:
			suspects = append(suspects, s.Candidate)
		case now.Sub(s.polled) < missedAfter:
			able = append(able, s.Candidate)
		case now.After(s.expires):
			delete(c.checkers, name)
		}
	}
	byName := func(a, b Candidate) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(able, byName)
	slices.SortFunc(suspects, byName)
	if len(able) == 0 { // better they than nobody
		able, suspects = suspects, nil
	}
	if !slices.Equal(able, c.next) || !slices.Equal(suspects, c.suspects) {
		c.next, c.suspects = able, suspects
		c.version++
	}
	if !slices.Equal(c.current, c.next) && c.settled(now) {
		c.current = c.next
		c.version++
	}
}

// settled tells whether everybody who may look at something goes by the newest lists.
func (c *Coordinator) settled(now time.Time) bool {
	for _, s := range c.checkers {
		if now.Before(s.expires) && s.seen != c.version {
			return false
		}
	}
	return true
}

// owner is the one of a list that looks at an instance's targets. A program is run only where programs are, if there is
// such a server.
func owner(hash uint64, all []Candidate, command bool) (name string) {
	able := !command || !slices.ContainsFunc(all, func(c Candidate) bool { return c.Commands })
	best := uint64(0)
	for _, c := range all {
		if !able && !c.Commands {
			continue
		}
		if w := mix(hash ^ hashOf(c.Name)); name == "" || w > best {
			name, best = c.Name, w
		}
	}
	return name
}

// hashOf is the same on every server. Between the parts stands what is in none of them.
func hashOf(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // it cannot fail
		_, _ = h.Write([]byte{0})
	}
	return mix(h.Sum64())
}

// mix spreads what differs in one bit over all of them (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
