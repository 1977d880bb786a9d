package health_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/gateway/gatewaytest"
	"github.com/rollcall/rollcall/health"
	"github.com/rollcall/rollcall/health/probe"
	"github.com/rollcall/rollcall/log/event"
)

// world is a cluster in virtual time, and the targets that its servers look at. Its ledger is one backend's.
type world struct {
	*gatewaytest.Backend

	t testing.TB

	mu     sync.Mutex
	random *rand.Rand
	leader string // empty while there is none
	term   uint64
	nodes  map[string]*node
	cut    map[string]bool // reaches no other server
	blind  map[string]bool // sees everything fail
	lossy  bool            // questions and answers get lost, and take time
	hidden map[string]bool // namespaces that are not there just now
	late   chan struct{}   // who begins to read awaits it, where it is not nil

	slow    time.Duration // a look takes up to so long
	stuck   map[string]bool
	down    map[string]event.Status // by instance id; Passing where missing
	looking map[string]string       // by target: who looks just now
	last    map[string]seen         // by target
	looks   map[string]int          // by server
	most    int                     // looks under way at the same time, at most
	under   int
	reads   int // of states
}

type seen struct {
	by string
	at time.Time
}

type node struct {
	*world

	name        string
	checker     *health.Checker
	coordinator *health.Coordinator
	sees        string // the leader that it knew when it was cut off
	seesTerm    uint64
	kill        context.CancelFunc
	done        chan struct{}
}

func newWorld(t testing.TB, seed uint64, names ...string) *world {
	t.Helper()
	w := &world{
		Backend: gatewaytest.New("c"), t: t, random: rand.New(rand.NewPCG(seed, 0)), nodes: map[string]*node{},
		cut: map[string]bool{}, blind: map[string]bool{}, stuck: map[string]bool{}, down: map[string]event.Status{},
		hidden: map[string]bool{}, looking: map[string]string{}, last: map[string]seen{}, looks: map[string]int{},
	}
	for _, name := range names {
		w.start(name, health.Config{})
	}
	w.lead(names[0])
	return w
}

func (w *world) start(name string, c health.Config) *node {
	n := &node{world: w, name: name, coordinator: health.NewCoordinator(name), done: make(chan struct{})}
	c.Server, c.Prober, c.Logger = name, n, slog.New(slog.DiscardHandler)
	n.checker = health.New(n, c)
	ctx, kill := context.WithCancel(w.t.Context())
	n.kill = kill
	w.mu.Lock()
	w.nodes[name] = n
	w.mu.Unlock()
	go func() {
		defer close(n.done)
		n.checker.Run(ctx)
	}()
	w.t.Cleanup(func() { kill(); <-n.done })
	return n
}

// crash ends a server without its saying goodbye.
func (w *world) crash(name string) {
	w.mu.Lock()
	n := w.nodes[name]
	w.cut[name] = true
	n.sees, n.seesTerm = "", 0
	w.mu.Unlock()
	n.kill()
	<-n.done
}

func (w *world) lead(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leader = name
	w.term++
	if n := w.nodes[name]; n != nil {
		n.coordinator.Lead(time.Now(), w.term)
	}
}

// isolate cuts a server off, or lets it come back. Who leads and is cut off goes on thinking so.
func (w *world) isolate(name string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[name] = cut
	w.nodes[name].sees, w.nodes[name].seesTerm = w.leader, w.term
}

var errLost = errors.New("lost")

func (w *world) delay(limit time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lossy {
		return time.Millisecond
	}
	return time.Duration(w.random.Int64N(int64(limit)))
}

func (w *world) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lossy && w.random.IntN(n) == 0
}

// Coordinate implements health.Host.
func (n *node) Coordinate(ctx context.Context, p health.Poll) (health.Grant, error) {
	w := n.world
	w.mu.Lock()
	leader, term := w.leader, w.term
	if w.cut[n.name] {
		leader, term = n.sees, n.seesTerm
	}
	reached := leader != "" && (leader == n.name || !w.cut[n.name] && !w.cut[leader])
	coordinator := w.nodes[leader]
	w.mu.Unlock()
	if !reached || w.chance(10) {
		_ = pause(ctx, time.Second)
		return health.Grant{}, errLost
	}
	if err := pause(ctx, w.delay(200*time.Millisecond)); err != nil {
		return health.Grant{}, err
	}
	coordinator.coordinator.Arrive(time.Now(), term, p)
	_ = pause(ctx, w.delay(500*time.Millisecond)) // the server that was asked goes on all the same
	w.mu.Lock()
	leads := w.leader == leader && w.term == term && !w.cut[leader]
	w.mu.Unlock()
	if !leads {
		return health.Grant{}, errLost
	}
	g := coordinator.coordinator.Grant(time.Now(), term, p)
	if w.chance(10) {
		return health.Grant{}, errLost
	}
	return g, pause(ctx, w.delay(500*time.Millisecond))
}

// Namespaces implements health.Host.
func (n *node) Namespaces() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(n.Backend.Namespaces(), func(name string) bool { return n.hidden[name] })
}

// View implements health.Host. A wait for it cannot be given up, as a read of a slow disk cannot.
func (n *node) View(ctx context.Context, namespace string, o gateway.ReadOptions, fn func(gateway.View) error) error {
	n.mu.Lock()
	n.reads++
	late := n.late
	n.mu.Unlock()
	if late != nil {
		<-late
	}
	return n.Backend.View(context.WithoutCancel(ctx), namespace, o, fn)
}

// Submit implements health.Host.
func (n *node) Submit(ctx context.Context, namespace string, r gateway.Request) (commands.Answer, error) {
	n.mu.Lock()
	cut := n.cut[n.name]
	n.mu.Unlock()
	if cut {
		return commands.Answer{}, gateway.ErrUnavailable
	}
	return n.Backend.Submit(ctx, namespace, r)
}

// Look implements health.Prober.
func (n *node) Look(ctx context.Context, check event.Check, i event.Instance, _ map[string]string) probe.Result {
	w := n.world
	target := i.ID + "/" + check.ID
	w.mu.Lock()
	if by := w.looking[target]; by != "" {
		w.t.Errorf("%s looks at %s, while %s does", n.name, target, by)
	}
	w.looking[target] = n.name
	w.last[target] = seen{n.name, time.Now()}
	w.looks[n.name]++
	w.under++
	w.most = max(w.most, w.under)
	status, stuck, blind := w.down[i.ID], w.stuck[i.ID], w.blind[n.name]
	takes := time.Millisecond
	if w.slow > 0 {
		takes = time.Duration(w.random.Int64N(int64(w.slow)))
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.looking, target)
		w.under--
	}()
	if stuck {
		takes = time.Duration(check.Timeout)
		status = event.Critical
	}
	if blind {
		status = event.Critical
	}
	if pause(ctx, min(takes, time.Duration(check.Timeout))) != nil {
		time.Sleep(w.delay(250 * time.Millisecond)) // to end a program takes a moment
		return probe.Result{Status: event.Critical, Reason: "stopped"}
	}
	if status == 0 {
		status = event.Passing
	}
	return probe.Result{Status: status, Reason: "as the test has it", Output: fmt.Sprintf("%s saw %s at %s", n.name, status, time.Now())}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *world) set(id string, s event.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[id] = s
}

func (w *world) setBlind(server string, blind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind[server] = blind
}

func every(interval time.Duration) event.Check {
	return event.Check{ID: "c", TCP: &event.TCPCheck{Address: "127.0.0.1:80"}, Interval: event.Time(interval), Timeout: event.Time(time.Second)}
}

func (w *world) register(id string, checks ...event.Check) {
	w.t.Helper()
	w.MustSubmit(event.Default, commands.RegisterInstance{Instance: event.Instance{Service: "web", ID: id, Address: "fd00::" + strings.TrimLeft(id, "i"), Checks: checks}})
}

// registerAll registers instances i0, i1 … and waits until all pass.
func (w *world) registerAll(n int, check event.Check) {
	w.t.Helper()
	for i := range n {
		w.register(fmt.Sprintf("i%d", i), check)
	}
	w.await(time.Minute, "all passing", func() bool { return w.count(event.Passing) == n })
}

func (w *world) count(s event.Status) (n int) {
	err := w.View(w.t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
		for _, h := range v.WithHealth("web") {
			for _, c := range h.Checks {
				if c.Status == s {
					n++
				}
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) status(id string) (s event.Status) {
	err := w.View(w.t.Context(), event.Default, gateway.ReadOptions{}, func(v gateway.View) error {
		c, _ := v.Health("web", id).Check("c")
		s = c.Status
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) head() event.Revision {
	head, err := w.Head(event.Default)
	if err != nil {
		w.t.Fatal(err)
	}
	return head
}

// await lets time pass until something is so, and gives how long that took.
func (w *world) await(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > limit {
			w.t.Fatalf("after %s: not %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

func (w *world) owner(target string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[target].by
}

func (w *world) looked(server string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looks[server]
}
