package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
	"github.com/rollcall/rollcall/projections"
)

// A data folder that was brought back as a whole from an old copy has forgotten votes and acknowledged entries, and
// nothing in it says so. The other servers know: each remembers the most that it saw of every replica (log.Memory), and
// a server exchanges no message of Raft with another one before it has asked that one. Whoever counted an acknowledgement
// or a vote of this replica is asked before it gets the next. Who does not answer holds nobody up, for it gets no
// messages either: a whole cluster starts from cold, and a server alone goes on with what needs no quorum.

const (
	pathShown = "/peer/shown"
	// memoryFile is what this server saw of the others, so that they are still known when it was restarted.
	memoryFile = "seen.json"
	saveEvery  = 5 * time.Second
)

// shownAnswer is what a server saw of a replica.
type shownAnswer struct {
	Name    string               `json:"name"`
	Cluster string               `json:"cluster"` // a replica's number says nothing in another one
	Shown   map[uint64]log.Shown `json:"shown"`   // by group
}

// OldStateError says that a data folder is older than what its server has shown to others.
type OldStateError struct {
	Data    string
	Replica uint64
	Witness string // the server that saw more
	Group   uint64
	Lacks   string // what that was, and what the folder holds
}

// Error implements error.
func (e *OldStateError) Error() string {
	return fmt.Sprintf("%s: server %q saw in group %d that this server's replica %d %s: it would vote again and forget what it "+
		"acknowledged, so it must not go on. Was %s brought back from an old copy? Bring back a newer one of this very server, or "+
		"remove the member, wipe the folder, and start the server again with --join, which makes a new replica of it. (Were the folders of "+
		"all servers brought back? Then README.md says under \"A cluster\" how to go on, and what that gives up)",
		e.Unwrap(), e.Witness, e.Group, e.Replica, e.Lacks, e.Data)
}

// Unwrap makes it one of the errors about a state that was lost.
func (e *OldStateError) Unwrap() error { return machine.ErrStateLost }

// findOld compares what a server saw of a replica with what the replica's logs hold.
func findOld(data string, replica uint64, held map[uint64]log.Held, a shownAnswer) error {
	groups := make([]uint64, 0, len(held))
	for group := range held {
		groups = append(groups, group)
	}
	slices.Sort(groups)
	for _, group := range groups {
		if lacks := held[group].Lacks(a.Shown[group]); lacks != "" {
			return &OldStateError{Data: data, Replica: replica, Witness: a.Name, Group: group, Lacks: lacks}
		}
	}
	return nil
}

// witnesses are the other servers, as those that may have seen more of this one than its data folder holds.
type witnesses struct {
	memory *log.Memory // what this server saw of the others
	log    *log.Log    // which may still be opened; written before known is closed
	known  chan struct{}

	mu  sync.Mutex
	old error // somebody saw more: nobody is met any more
}

// startWitness has this server tell what it saw in its cluster, which is empty while it belongs to none. It does so from
// the first moment on at which it can be asked anything.
func (s *Server) startWitness(cluster string) {
	memory := log.NewMemory()
	if cluster != "" { // what stands in the folder of a server that belongs to none speaks of others
		var err error
		memory, err = log.ReadMemory(store.DefaultFS, filepath.Join(s.config.Data, memoryFile), cluster)
		if err != nil {
			s.config.Logger.Warn("what was seen of the other servers is forgotten", "error", err)
		}
	}
	s.witnesses = &witnesses{memory: memory, known: make(chan struct{})}
}

func (s *Server) serveShown(w http.ResponseWriter, r *http.Request) {
	replica, err := strconv.ParseUint(r.URL.Query().Get("replica"), 10, 64)
	if err != nil {
		p := gateway.NewProblem(gateway.CodeInvalidParameter, "replica %q: a number", r.URL.Query().Get("replica"))
		answerJSON(w, p.Status, p)
		return
	}
	answerJSON(w, http.StatusOK, shownAnswer{
		Name: s.config.Name, Cluster: s.transport.Cluster(), Shown: s.witnesses.memory.Of(replica),
	})
}

// askWitnesses asks the other servers before Raft may talk to any. It is called once, with the log that is being opened.
func (s *Server) askWitnesses(l *log.Log) error {
	s.witnesses.log = l
	defer close(s.witnesses.known)
	var round sync.WaitGroup
	for _, address := range s.otherAddresses(l) {
		round.Go(func() {
			ctx, cancel := context.WithTimeout(s.following, askTimeout)
			defer cancel()
			if err := s.askWitness(ctx, address); err != nil {
				s.config.Logger.Info("cannot ask yet what a server saw of this one", "address", address, "error", err)
			}
		})
	}
	round.Wait()
	s.witnesses.mu.Lock()
	defer s.witnesses.mu.Unlock()
	return s.witnesses.old
}

// otherAddresses are those of the other servers, as far as the data folder and the configuration say.
func (s *Server) otherAddresses(l *log.Log) []string {
	founders, _ := s.config.founders() // which were checked when it started
	all := make([]string, 0, 2*len(founders))
	for _, f := range slices.Concat(founders, s.identity.Founders) {
		all = append(all, f.Raft)
	}
	err := l.View(systemGroup, event.System, nil, func(rows store.Reader, revision event.Revision) error {
		for m := range projections.NewView(rows, revision).Members() {
			all = append(all, m.Address)
		}
		return nil
	})
	if err != nil && !errors.Is(err, log.ErrNoLedger) {
		s.config.Logger.Warn("cannot read which servers there are", "error", err)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(a string) bool { return a == "" || a == s.identity.Raft })
}

// encounter is asked before this server's first message goes to the server at an address, or is taken from there.
func (s *Server) encounter(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case <-s.witnesses.known:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.witnesses.mu.Lock()
	old := s.witnesses.old
	s.witnesses.mu.Unlock()
	if old != nil {
		return old
	}
	err := s.askWitness(ctx, address)
	if err != nil && errors.Is(err, machine.ErrStateLost) {
		s.stopOld(err)
	}
	return err
}

// askWitness asks the server at an address what it saw. It gives an error where that is not known yet, and an
// OldStateError where it saw more than there is.
func (s *Server) askWitness(ctx context.Context, address string) error {
	var a shownAnswer
	path := pathShown + "?" + "replica=" + strconv.FormatUint(s.identity.Replica, 10)
	err := s.ask(ctx, address, http.MethodGet, path, nil, &a)
	if isUnknownPath(err) {
		// A server of an earlier version. One that is about to start does not say hello yet either, or knows the path by then.
		var h hello
		if err := s.ask(ctx, address, http.MethodGet, pathHello, nil, &h); err != nil {
			return err
		}
		if err = s.ask(ctx, address, http.MethodGet, path, nil, &a); isUnknownPath(err) && h.Cluster == s.identity.Cluster {
			s.config.Logger.Warn("a server is too old to tell what it saw of this one", "name", h.Name)
			return nil
		}
	}
	if err != nil {
		return err
	}
	if a.Cluster != s.identity.Cluster {
		return fmt.Errorf("the server at %s belongs to cluster %q, and this one to %q", address, a.Cluster, s.identity.Cluster)
	}
	err = findOld(s.config.Data, s.identity.Replica, s.witnesses.log.Held(), a)
	if err != nil {
		s.noteOld(err)
	}
	return err
}

// noteOld remembers that somebody saw more, also for the next start: Raft may write to the folder before it is known,
// which then would look newer than it is.
func (s *Server) noteOld(err error) {
	s.witnesses.mu.Lock()
	defer s.witnesses.mu.Unlock()
	if s.witnesses.old != nil {
		return
	}
	s.witnesses.old = err
	q := quarantine{Reason: err.Error(), Time: time.Now(), data: s.config.Data}
	if err := q.write(); err != nil {
		s.config.Logger.Error("cannot remember that this folder is old", "error", err)
	}
}

// stopOld stops a server that runs, when a server that was away comes back and saw more.
func (s *Server) stopOld(err error) {
	if !s.ready.Load() {
		s.fail(err) // whoever starts it is told
		return
	}
	s.enterQuarantine(quarantine{Reason: err.Error()})
}

// keepMemory writes down what this server saw, until ctx ends.
func (s *Server) keepMemory(ctx context.Context) {
	for pause(ctx, saveEvery) == nil {
		if err := s.saveMemory(); err != nil {
			s.config.Logger.Warn("cannot remember what was seen of the other servers", "error", err)
		}
	}
}

func (s *Server) saveMemory() error {
	return s.witnesses.memory.Save(store.DefaultFS, filepath.Join(s.config.Data, memoryFile), s.identity.Cluster)
}
