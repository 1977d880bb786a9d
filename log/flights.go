package log

import (
	"context"
	"sync"
	"time"
)

// An entry that was handed to a leader which died is lost, or is committed by the next leader; Raft does not say which
// of the two, and would let the caller wait until its time runs out. So a proposer watches who leads: when that
// changes, the entries under way give up their slots, for otherwise nothing new would be proposed until they time out;
// and once this server has seen everything that the new leader had committed, whoever still waits is told that the
// outcome is not known. (An entry can hide in the network longer than that, so it cannot be called refused.)

// flights are the entries of a proposer that are under way.
type flights struct {
	mu     sync.Mutex
	all    map[*flight]struct{}
	leader uint64
	term   uint64
}

// flight is one entry under way.
type flight struct {
	free func()        // gives up its slot; may be called again
	lost chan struct{} // closed when it is not going to be answered any more
	once sync.Once
}

func (f *flight) giveUp() { f.once.Do(func() { close(f.lost) }) }

func (s *flights) begin(free func()) *flight {
	f := &flight{free: free, lost: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*flight]struct{}{}
	}
	s.all[f] = struct{}{}
	return f
}

func (s *flights) end(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, f)
}

// overtaken notes who leads, and gives the entries that were handed to somebody who led before.
func (s *flights) overtaken(leader, term uint64) []*flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if leader == 0 || leader == s.leader && term == s.term {
		return nil
	}
	s.leader, s.term = leader, term
	old := make([]*flight, 0, len(s.all))
	for f := range s.all {
		old = append(old, f)
	}
	return old
}

// settleTime is how long after a barrier an answer may take from the state machine to the caller.
const settleTime = 100 * time.Millisecond

// leaderIs is told who leads the group. It does not wait.
func (p *proposer) leaderIs(leader, term uint64) {
	old := p.flights.overtaken(leader, term)
	if len(old) == 0 {
		return
	}
	for _, f := range old {
		f.free()
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), defaultTimeout)
		defer cancel()
		if p.barrier(ctx) != nil {
			return // then their own time runs out
		}
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ended:
		}
		for _, f := range old {
			f.giveUp()
		}
	}()
}
