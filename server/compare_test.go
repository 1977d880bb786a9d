package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
	"github.com/rollcall/rollcall/log/store"
)

// TestJudge reads, for each server, its letter (servers with the same one have the same digest; "-" cannot be asked) and
// whether it votes (upper case). The first is the one that judges.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, servers string
		want          verdict
		differ        string
	}{
		{"alone", "A", unknown, ""},
		{"two alike", "AA", equal, ""},
		{"two that differ", "AB", split, "b"},
		{"two, one of them gone", "A-", unknown, ""},
		{"three alike", "AAA", equal, ""},
		{"three, one of them gone", "AA-", equal, ""},
		{"three, the other two gone", "A--", unknown, ""},
		{"three, this one is odd", "ABB", odd, "b,c"},
		{"three, another one is odd", "AAB", other, "c"},
		{"three, all different", "ABC", split, "b,c"},
		{"three, one gone and one different", "AB-", split, "b"},
		{"five, this one is odd", "ABBBB", odd, "b,c,d,e"},
		{"five, a bare majority against this one", "ABBB-", odd, "b,c,d"},
		{"five, a bare majority against this one and another", "AABBB", odd, "c,d,e"},
		{"five, no majority", "AABB-", split, "c,d"},
		{"five, no majority but many", "ABB--", split, "b,c"},
		{"five, three kinds", "AABBC", split, "c,d,e"},
		{"five, this one is of the majority", "AAABB", other, "d,e"},
		{"two odd ones of which neither is like the other", "ABCCC", odd, "b,c,d,e"},
		{"a non-voter that is odd", "aBBB", odd, "b,c,d"},
		{"a non-voter against two of three", "aBB-", odd, "b,c"},
		{"a non-voter against one of three", "aB--", split, "b"},
		{"non-voters do not count", "Abbb-", split, "b,c,d"},
		{"a voter against a non-voter with a majority behind it", "AAbA", other, "c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []said
			for i, letter := range strings.Split(c.servers, "") {
				voter := letter == strings.ToUpper(letter) // "-" is a voter too
				revision := event.Revision(strings.ToUpper(letter)[0])
				all = append(all, said{
					name: string(rune('a' + i)), voter: voter, known: letter != "-", digest: machine.Digest{Revision: revision},
				})
			}
			got, differ := judge(all[0], all[1:])
			if got != c.want || strings.Join(differ, ",") != c.differ {
				t.Errorf("%s: got %d, %v, want %d, %s", c.servers, got, differ, c.want, c.differ)
			}
		})
	}
}

// broken is the domain but for one key, which it folds otherwise.
type broken struct {
	Domain
	key string
}

func (b broken) Fold(rows store.Writer, e event.Event) {
	if set, ok := e.Body.(event.KeySet); ok && set.Key == b.key {
		set.Flags++
		e.Body = set
	}
	b.Domain.Fold(rows, e)
}

func openMachine(t *testing.T, domain machine.Domain) *machine.Machine {
	t.Helper()
	m, err := machine.New(machine.Config{Dir: "/group", Marker: "/synced", Domain: domain, Store: store.Options{FS: store.NewMemFS()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestBrokenFold has three machines apply the same entries, of which one folds one key otherwise, and lets each compare
// itself with the others over HTTP: the broken one finds that it is the odd one, at the commit where that happened and
// not before, and the others find the broken one.
func TestBrokenFold(t *testing.T) {
	servers := []string{"a", "b", "c"}
	machines := map[string]*machine.Machine{}
	urls := map[string]string{}
	for _, name := range servers {
		var domain machine.Domain = Domain{}
		if name == "c" {
			domain = broken{key: "unlucky"}
		}
		m := openMachine(t, domain)
		machines[name] = m
		mux := http.NewServeMux()
		mux.Handle("GET "+pathDigest, digestHandler(func(_ context.Context, namespace string, at event.Revision) (machine.Digest, bool, error) {
			return m.Digest(namespace, at)
		}))
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		urls[name] = s.URL
	}
	index := uint64(0)
	apply := func(c commands.Command) {
		t.Helper()
		index++
		command := machine.EncodeCommand(machine.Command{Ledger: "default", Time: event.Time(index), Body: commands.Encode(c)})
		for _, m := range machines {
			if _, err := m.Update([]sm.Entry{{Index: index, Cmd: machine.EncodeEntry(0, [][]byte{command})}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	compareAll := func() (odd []string, logged string) {
		var log strings.Builder
		for _, name := range servers {
			c := &comparer{
				name: name, voter: func() bool { return true }, namespaces: func() []string { return []string{"default"} },
				own: machines[name].Digest, logger: slog.New(slog.NewTextHandler(&log, nil)),
				diverged: func(namespace string, own said, _ []said) {
					odd = append(odd, fmt.Sprintf("%s: %s at %d", own.name, namespace, own.digest.Revision))
				},
			}
			var others []digestPeer
			for _, peer := range servers {
				if peer != name {
					others = append(others, digestPeer{name: peer, voter: true, ask: func(ctx context.Context, namespace string, at event.Revision) (machine.Digest, bool, error) {
						return askDigest(ctx, http.DefaultClient, urls[peer], namespace, at)
					}})
				}
			}
			c.round(context.Background(), others)
		}
		return odd, log.String()
	}
	apply(commands.OpenNamespace{Namespace: "default", Cluster: "c"})
	apply(commands.PutKey{Key: "lucky", Value: []byte("v")})
	if odd, logged := compareAll(); odd != nil || logged != "" {
		t.Errorf("while all is well: %v, %s", odd, logged)
	}
	apply(commands.PutKey{Key: "unlucky", Value: []byte("v")})
	apply(commands.PutKey{Key: "lucky", Value: []byte("w")}) // what went wrong once shows from then on
	odd, logged := compareAll()
	if diff := cmp.Diff([]string{"c: default at 4"}, odd); diff != "" {
		t.Errorf("who is odd (-want +got):\n%s", diff)
	}
	if strings.Count(logged, "another server's state differs") != 2 || strings.Count(logged, "differ=c") != 2 {
		t.Errorf("the two others said:\n%s", logged)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestComparerAsks asks again only for what may have changed, and takes no answer to another question.
func TestComparerAsks(t *testing.T) {
	revision, answer := event.Revision(7), func(at event.Revision) (machine.Digest, bool, error) {
		return machine.Digest{Revision: at}, true, nil
	}
	var asked atomic.Int64
	told := 0
	c := &comparer{
		name: "a", voter: func() bool { return true }, namespaces: func() []string { return []string{"n"} },
		own: func(string, event.Revision) (machine.Digest, bool, error) {
			return machine.Digest{Revision: revision}, true, nil
		},
		logger: slog.New(slog.DiscardHandler), diverged: func(string, said, []said) { told++ },
	}
	ask := func(_ context.Context, _ string, at event.Revision) (machine.Digest, bool, error) {
		asked.Add(1)
		return answer(at)
	}
	peers := []digestPeer{{name: "b", voter: true, ask: ask}}
	rounds := func(n int, want int64) {
		t.Helper()
		asked.Store(0)
		for range n {
			c.round(context.Background(), peers)
		}
		if got := asked.Load(); got != want {
			t.Errorf("asked %d times in %d rounds, want %d", got, n, want)
		}
	}
	rounds(10, 1)
	rounds(compareAgain+1, 1)
	revision++
	rounds(3, 1)
	peers = append(peers, digestPeer{name: "c", voter: true, ask: func(context.Context, string, event.Revision) (machine.Digest, bool, error) {
		return machine.Digest{}, false, errors.New("gone")
	}})
	rounds(3, 3) // who cannot be asked is asked again
	if got := c.results()["n"]; got.revision != 8 || got.differs {
		t.Errorf("got %+v", got)
	}
	peers[1].ask = ask
	answer = func(event.Revision) (machine.Digest, bool, error) {
		return machine.Digest{Revision: 1, Leaves: 9}, true, nil
	}
	revision++
	rounds(2, 4)
	if told != 0 || c.results()["n"].differs {
		t.Error("answers about another revision were compared")
	}
	answer = func(at event.Revision) (machine.Digest, bool, error) {
		return machine.Digest{Revision: at, Leaves: 9}, true, nil
	}
	rounds(2, 4)
	if told != 2 || !c.results()["n"].differs {
		t.Errorf("told %d times that it is odd, want 2: %+v", told, c.results()["n"])
	}
}

// TestDigestHandler answers what is no question, and what it does not know.
func TestDigestHandler(t *testing.T) {
	want := machine.Digest{Revision: 5, Leaves: 4, Root: [32]byte{1, 2}, Rows: store.RowVersion{Key: make([]byte, 20)}.Sum()}
	s := httptest.NewServer(digestHandler(func(_ context.Context, namespace string, at event.Revision) (machine.Digest, bool, error) {
		switch namespace {
		case "here":
			return want, at == 5, nil
		case "stopping":
			return machine.Digest{}, false, machine.ErrClosed
		}
		return machine.Digest{}, false, gateway.UnknownNamespaceError{Namespace: namespace}
	}))
	defer s.Close()
	ctx := context.Background()
	if got, known, err := askDigest(ctx, s.Client(), s.URL, "here", 5); err != nil || !known || got != want {
		t.Errorf("got %+v, %v, %v, want %+v", got, known, err, want)
	}
	for _, c := range []struct {
		namespace string
		at        event.Revision
	}{{"here", 6}, {"elsewhere", 5}} {
		if got, known, err := askDigest(ctx, s.Client(), s.URL, c.namespace, c.at); err != nil || known {
			t.Errorf("%s at %d: got %+v, %v, %v", c.namespace, c.at, got, known, err)
		}
	}
	var p *gateway.Problem
	if _, _, err := askDigest(ctx, s.Client(), s.URL, "stopping", 5); !errors.As(err, &p) || p.Code != gateway.CodeStopping {
		t.Errorf("got %v, want %s", err, gateway.CodeStopping)
	}
	for _, revision := range []string{"", "x", "-1", "9223372036854775808"} {
		err := askJSON(ctx, s.Client(), s.URL, http.MethodGet, pathDigest+"?namespace=here&revision="+revision, nil, &digestAnswer{})
		if !errors.As(err, &p) || p.Code != gateway.CodeInvalidParameter {
			t.Errorf("revision %q: got %v, want %s", revision, err, gateway.CodeInvalidParameter)
		}
	}
}

// alwaysOdd are two voters that agree with each other on something else than this server has.
func alwaysOdd() []digestPeer {
	other := machine.Digest{Leaves: rand.Uint64()}
	ask := func(_ context.Context, _ string, at event.Revision) (machine.Digest, bool, error) {
		d := other
		d.Revision = at
		return d, true, nil
	}
	return slices.Repeat([]digestPeer{{name: "other", voter: true, ask: ask}}, 2)
}
