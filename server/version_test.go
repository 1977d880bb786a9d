package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/server"
)

// TestRepeats makes the same request many times at once, so that its repeats fall into one entry, one batch, or later
// ones as it happens: one of them writes, and all get the same answer.
func TestRepeats(t *testing.T) {
	s := startServer(t)
	ctx := context.Background()
	for i := range 20 {
		before, err := s.Head(event.Default)
		if err != nil {
			t.Fatal(err)
		}
		request := gateway.Request{Key: fmt.Sprint("key-", i), Command: commands.PutKey{Key: "a", Value: []byte{byte(i)}}}
		answers := make([]commands.Answer, 16)
		var wg sync.WaitGroup
		for j := range answers {
			wg.Go(func() {
				var err error
				if answers[j], err = s.Submit(ctx, event.Default, request); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.Revision != before+1 {
				t.Errorf("answered with revision %d, want %d", a.Revision, before+1)
			}
		}
		if head, err := s.Head(event.Default); err != nil || head != before+1 {
			t.Errorf("the ledger ends at %d, want %d (%v)", head, before+1, err)
		}
	}
}

// TestClusterVersion has a new cluster come to the newest version at once, and stay there; an older binary, which is
// one that the folder is said to be too new for, does not touch it.
func TestClusterVersion(t *testing.T) {
	c := server.Config{
		Data: t.TempDir(), HTTP: "127.0.0.1:0", Raft: "127.0.0.1:0", NATS: "127.0.0.1:0", DNS: "127.0.0.1:0",
		Tick: server.Duration(10e6),
	}
	var events []string
	for range 2 {
		s, err := server.Start(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		events = types(t, s)
		err = s.View(context.Background(), event.System, gateway.ReadOptions{}, func(v gateway.View) error {
			if got := v.ClusterVersion(); got != commands.Version {
				t.Errorf("the cluster is at version %d, want %d", got, commands.Version)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"rollcall.namespace.open", "rollcall.member.add", "rollcall.namespace.create", "rollcall.cluster.version"}
	if !slices.Equal(events, want) {
		t.Errorf("after the second start _system holds %q, want %q", events, want)
	}

	path := filepath.Join(c.Data, "server.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var identity map[string]any
	if err := json.Unmarshal(b, &identity); err != nil {
		t.Fatal(err)
	}
	if identity["version"] != float64(commands.Version) {
		t.Errorf("the folder notes version %v, want %d", identity["version"], commands.Version)
	}
	identity["version"] = commands.Version + 1
	if b, err = json.Marshal(identity); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(context.Background(), c)
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "start a newer one") {
		t.Errorf("a folder of version %d was opened: %v", commands.Version+1, err)
	}
}

// types gives the types of the events in _system's ledger.
func types(t *testing.T, s *server.Server) (all []string) {
	t.Helper()
	f, err := s.Follow(event.System, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		events, err := f.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return all
		}
		for _, e := range events {
			all = append(all, e.Body.Type())
		}
	}
}

// TestNewerCommandStopsTheReplica: to skip a command that others decide would be to differ from them in silence.
func TestNewerCommandStopsTheReplica(t *testing.T) {
	r := newReplica(t)
	newer := commands.Order{Version: commands.Version + 1, Command: commands.DeletePrefix{}}.Encode()
	entry := machine.EncodeEntry(0, [][]byte{machine.EncodeCommand(machine.Command{Ledger: event.Default, Body: newer})})
	_, err := r.machine.Update([]sm.Entry{{Index: 1, Cmd: entry}})
	if err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("it went on: %v", err)
	}
	if got := r.machine.Applied(); got != 0 {
		t.Errorf("it applied up to %d", got)
	}
}
