package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// A server whose state is not what the others' is must not answer, for what it says would be wrong, and must not lead,
// for what it decides would be. It leaves Raft and closes NATS; but its process stays, so that whoever asks is told what
// is wrong instead of finding nobody there, and so that no service manager starts it again and again. It says so in the
// log, in every answer, to DNS clients as SERVFAIL, which sends them to the next server, and in its metrics. A file in
// the data folder keeps it from starting again on the same state. /livez goes on saying that the process lives.

const quarantineFile = "quarantine.json"

// handOverTime is how long a server that stops, or is put in quarantine, may take for letting others lead.
const handOverTime = 2 * time.Second

// quarantine is why a server does not answer.
type quarantine struct {
	Reason    string                    `json:"reason"`
	Namespace string                    `json:"namespace"` // empty: all of them
	Time      time.Time                 `json:"time"`
	Own       *machine.Digest           `json:"own,omitempty"`
	Others    map[string]machine.Digest `json:"others,omitempty"` // by the server's name
	data      string
}

func (q *quarantine) String() string {
	if q.Namespace == "" { // all of it
		return "the state on this server cannot be trusted: " + q.Reason
	}
	return fmt.Sprintf("the state of namespace %q on this server cannot be trusted: %s", q.Namespace, q.Reason)
}

// remedy says what to do about it.
func (q *quarantine) remedy() string {
	return fmt.Sprintf("stop it, keep a copy of %s for finding the cause (rollcall verify), wipe it, and start the server again "+
		"with --join; the other servers go on", q.data)
}

func (q *quarantine) problem() *gateway.Problem {
	return gateway.NewProblem(gateway.CodeStateDiverged, "%s; ask another server. For its operator: %s", q, q.remedy())
}

// checkQuarantine refuses to start on a state that was put in quarantine.
func checkQuarantine(data string) error {
	path := filepath.Join(data, quarantineFile)
	b, err := store.ReadFile(store.DefaultFS, path)
	if err != nil || b == nil {
		return err
	}
	q := quarantine{Reason: "see " + path}
	// A file that cannot be read is as good a reason as one that can.
	_ = json.Unmarshal(b, &q)
	q.data = data
	return fmt.Errorf("%s says since %s that %s; %s", path, q.Time.Format(time.RFC3339), &q, q.remedy())
}

// diverged puts this server in quarantine because it is the odd one; see comparer.
func (s *Server) diverged(namespace string, own said, others []said) {
	q := quarantine{
		Reason:    fmt.Sprintf("at revision %d a majority of the servers has another state", own.digest.Revision),
		Namespace: namespace, Own: &own.digest, Others: map[string]machine.Digest{},
	}
	for _, o := range others {
		if o.known {
			q.Others[o.name] = o.digest
		}
	}
	s.enterQuarantine(q)
}

// damaged is told what scrubbing found. Where the others can do without this server, it stops answering; a server that
// is needed goes on and says so in every round, for most of what it holds is right, and nobody else has it.
func (s *Server) damaged(d log.Damage) {
	s.metrics.damaged.WithLabelValues(d.Ledger).Inc()
	members, _, _ := s.roll()
	dispensable := s.ready.Load() && s.peers.dispense(members, s.identity.Replica)
	s.config.Logger.Error("the stored state is damaged", "group", d.Group, "namespace", d.Ledger, "error", d.Err, "goes_on", !dispensable)
	if dispensable {
		s.enterQuarantine(quarantine{Reason: d.Err.Error(), Namespace: d.Ledger})
	}
}

// dispense tells whether those that answer are a quorum without a replica.
func (p *peers) dispense(members []event.Member, without uint64) bool {
	voters, alive := 0, 0
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		if theirs, ok := p.get(m); ok && theirs.Ready && m.Replica != without {
			alive++
		}
	}
	return alive >= voters/2+1
}

// enterQuarantine stops answering at once, and lets go of everything else in the background. It does so once.
func (s *Server) enterQuarantine(q quarantine) {
	q.Time, q.data = time.Now(), s.config.Data
	if !s.quarantined.CompareAndSwap(nil, &q) {
		return
	}
	s.dns.Fail()
	s.config.Logger.Error("THIS SERVER STOPS ANSWERING: its state cannot be trusted", "namespace", q.Namespace, "reason", q.Reason,
		"own", q.Own, "others", q.Others, "do", q.remedy())
	s.isolation.Lock()
	defer s.isolation.Unlock()
	if s.closing { // what calls this is waited for: only the next start need be told
		if err := q.write(); err != nil {
			s.config.Logger.Error("cannot remember that this server's state cannot be trusted", "error", err)
		}
		return
	}
	s.isolating.Go(func() {
		if err := s.isolate(&q); err != nil {
			s.config.Logger.Error("cannot let go of everything", "error", err)
		}
	})
}

// write has it keep the folder from being started on.
func (q *quarantine) write() error {
	b, err := json.MarshalIndent(q, "", "\t")
	if err != nil {
		return err
	}
	return store.WriteFile(store.DefaultFS, filepath.Join(q.data, quarantineFile), append(b, '\n'))
}

func (s *Server) isolate(q *quarantine) error {
	err := q.write()
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime)
	defer cancel()
	s.endStreams()
	s.notify.Close()
	s.stop()
	s.handOver(ctx)
	return errors.Join(err, s.log.Close())
}

// do answers a request that came over NATS, with a refusal while the server is in quarantine.
func (s *Server) do(ctx context.Context, c gateway.Call) gateway.Reply {
	if q := s.quarantined.Load(); q != nil {
		return gateway.Refuse(q.problem())
	}
	return s.door.Do(ctx, crookedCall(c))
}

// quarantineGate lets nothing through to a door while the server is in quarantine.
func (s *Server) quarantineGate(door http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := s.quarantined.Load()
		if q == nil {
			door.ServeHTTP(w, r)
			return
		}
		p := q.problem()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(p) // who asked is gone; there is nobody to tell
	})
}
