package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/machine"
)

// witness is another server, which answers what it is told to.
func witness(t *testing.T, says *hello, shown any) (address string) {
	t.Helper()
	mux := http.NewServeMux()
	if says != nil {
		mux.HandleFunc("GET "+pathHello, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, says) })
	}
	if shown != nil {
		mux.HandleFunc("GET "+pathShown, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, shown) })
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestWitnesses has a running server meet others: who saw no more than there is, or is too old to tell, is met; who cannot
// tell yet is not; and one that saw more ends it all, now and at the next start.
func TestWitnesses(t *testing.T) {
	var said journal
	s, c := startAlone(t, &said)
	// On a busy machine an answer may come too late, which is none; it is asked for again then, as Raft does.
	meet := func(address string) error {
		for {
			if err := s.encounter(context.Background(), address); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
	}
	held := s.log.Held()[systemGroup]
	answer := func(shown log.Shown) shownAnswer {
		return shownAnswer{Name: "b", Cluster: s.identity.Cluster, Shown: map[uint64]log.Shown{systemGroup: shown}}
	}
	elsewhere := answer(log.Shown{Committed: 1 << 40})
	elsewhere.Cluster = "another"
	for name, w := range map[string]struct {
		address string
		met     bool
	}{
		"one that saw nothing":                 {witness(t, &hello{}, answer(log.Shown{})), true},
		"one that saw what there is":           {witness(t, &hello{}, answer(log.Shown{Term: held.Term, Vote: held.Vote, Acknowledged: held.Last, Committed: held.Last})), true},
		"one of an earlier version":            {witness(t, &hello{Name: "b", Cluster: s.identity.Cluster}, nil), true},
		"one of an earlier version, elsewhere": {witness(t, &hello{Name: "b", Cluster: "another"}, nil), false},
		"one that has only begun to start":     {witness(t, nil, nil), false},
		"one of another cluster":               {witness(t, &hello{}, elsewhere), false},
		"one that is not there":                {"127.0.0.1:1", false},
	} {
		if err := meet(w.address); (err == nil) != w.met {
			t.Errorf("%s: %v", name, err)
		} else if errors.Is(err, machine.ErrStateLost) {
			t.Errorf("%s: the state is lost", name)
		}
	}
	if s.quarantined.Load() != nil {
		t.Fatal("it is in quarantine though nobody saw more")
	}

	err := meet(witness(t, &hello{}, answer(log.Shown{Committed: held.Last + 1000})))
	var old *OldStateError
	if !errors.As(err, &old) || old.Witness != "b" || old.Group != systemGroup || !errors.Is(err, machine.ErrStateLost) {
		t.Fatalf("somebody saw more: %v", err)
	}
	if status, body := httpGet(t, s, "/v1/default/kv"); status != http.StatusServiceUnavailable || !strings.Contains(body, "remove the member") || strings.Contains(body, `namespace \"`) {
		t.Errorf("after somebody saw more: %d %s", status, body)
	}
	if err := meet(witness(t, &hello{}, answer(log.Shown{}))); err == nil {
		t.Error("others are still met")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Start(context.Background(), c); err == nil {
		t.Errorf("it starts again: %v", s.Close())
	} else if !strings.Contains(err.Error(), old.Lacks) {
		t.Errorf("the next start does not say what is missing: %v", err)
	}
}

// TestOldAtStart has a server that starts ask those that its configuration knows, and refuse when one of them saw more.
func TestOldAtStart(t *testing.T) {
	var said journal
	s, c := startAlone(t, &said)
	cluster := s.identity.Cluster
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	more := witness(t, &hello{}, shownAnswer{Name: "b", Cluster: cluster, Shown: map[uint64]log.Shown{2: {Term: 1 << 40}}})
	c.Name, c.Bootstrap = s.config.Name, fmt.Sprintf("%s=%s,b=%s", s.config.Name, s.identity.Raft, more)
	var asked journal
	c.Logger = slog.New(slog.NewTextHandler(&asked, nil))
	s, err := Start(context.Background(), c)
	// On a busy machine the answer may come too late; a server goes on without, and asks again when it is there.
	for late := 0; err == nil && strings.Count(asked.String(), "cannot ask yet what a server saw of this one") > late; late++ {
		if err = s.Close(); err != nil {
			t.Fatal(err)
		}
		s, err = Start(context.Background(), c)
	}
	var old *OldStateError
	if !errors.As(err, &old) || old.Group != 2 || old.Data != c.Data {
		t.Fatalf("got %v, %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(c.Data, quarantineFile)); err != nil {
		t.Error(err)
	}
}

// TestSeenFileOfNoUse starts a server whose memory of the others was damaged: that is a pity, and no reason not to start.
func TestSeenFileOfNoUse(t *testing.T) {
	var said journal
	s, c := startAlone(t, &said)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Data, memoryFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
