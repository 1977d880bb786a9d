package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ServiceState is a service as of one revision, as the servers answer it, with the status of each instance. A service that is
// not there has no instances. It never changes; leave what it holds as it is.
type ServiceState struct {
	Service
	passing []InstanceState
	// best are those of passing with the lowest priority, and weights the sums of their weights up to each.
	best    []InstanceState
	weights []uint64
}

func newServiceState(s Service) *ServiceState {
	state := &ServiceState{Service: s}
	lowest := ^uint16(0)
	for _, i := range s.Instances {
		if i.Status == Passing || i.Status == Warning && !s.Settings.OnlyPassing {
			state.passing = append(state.passing, i)
			lowest = min(lowest, orOne(i.Priority))
		}
	}
	sum := uint64(0)
	for _, i := range state.passing {
		if orOne(i.Priority) == lowest {
			sum += uint64(orOne(i.Weight))
			state.best, state.weights = append(state.best, i), append(state.weights, sum)
		}
	}
	return state
}

func orOne(n *uint16) uint16 {
	if n == nil {
		return 1
	}
	return *n
}

// Passing are the instances that may be used: those that pass, or warn, unless the service's settings say otherwise. They are
// in the order of their ids.
func (s *ServiceState) Passing() []InstanceState { return s.passing }

// Pick gives one of the instances that may be used: of those with the lowest priority a random one, by weight. One of weight
// zero is picked only where all of them have it. It is false where there is none.
func (s *ServiceState) Pick() (InstanceState, bool) {
	n := len(s.best)
	if n == 0 {
		return InstanceState{}, false
	}
	sum := s.weights[n-1]
	if sum == 0 {
		return s.best[rand.IntN(n)], true
	}
	at, _ := slices.BinarySearch(s.weights, 1+rand.Uint64N(sum)) // the first whose sum is not below it
	return s.best[at], true
}

// ServiceCache is a copy of a service in this process, which follows the servers. What it shows is always what they answered
// as of one revision, never older than what it has shown. Make one with CacheService.
type ServiceCache struct {
	client   *Client
	service  string
	watch    watchFunc
	progress progress
	current  atomic.Pointer[serviceVersion]
	life     context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup
	asking   chan struct{} // one question at a time
	dirty    chan struct{} // wanted may be ahead of what is shown

	mu sync.Mutex // guards what follows, and is held where current is replaced
	// wanted is the last commit that changed the service. While it is read anew, by so many at once, that is not known.
	wanted uint64
	anew   int
	// positions are, of each subject that is followed, what everything up to has been seen.
	positions [3]uint64
	// history counts how often it has gone back, and follows is which one each subject is of: what comes of an earlier one
	// says nothing about this one.
	history int
	follows [3]int
	// sources are, of each subject, whose events they are; empty where that is not known.
	sources [3]string
	// nodes are the last events of nodes that no instance is on; one that was registered just before may turn out to be.
	nodes map[string]uint64
}

// serviceVersion is the state that is shown until another one is.
type serviceVersion struct {
	*ServiceState
	superseded chan struct{}
	content    int // counts the states that say something else than their revision
}

// CacheService reads a service, and keeps the copy current in the background until the context ends or Close is called. It
// fails where the service cannot be read now; one that does not exist is one without instances. What goes wrong later is in
// Status, and tried again for as long as it takes.
//
// What an instance's status is depends on more than its own events, so the cache asks the servers for the whole service, as of
// the revision of the change, whenever it or a node that it runs on changes; changes that come meanwhile are one question. What
// checks have said last (CheckState.Output and so on) is no part of that. Each cache costs three streams of events: those of
// the service's instances, its settings, and of all nodes.
func (c *Client) CacheService(ctx context.Context, service string) (*ServiceCache, error) {
	return c.cacheService(ctx, service, c.watchMarked)
}

func (c *Client) cacheService(ctx context.Context, service string, watch watchFunc) (*ServiceCache, error) {
	s := &ServiceCache{
		client: c, service: service, watch: watch, asking: make(chan struct{}, 1), dirty: make(chan struct{}, 1), nodes: map[string]uint64{},
	}
	if err := s.resync(ctx, 0); err != nil {
		return nil, fmt.Errorf("cache service %q: %w", service, err)
	}
	s.positions[1], s.positions[2] = s.positions[0], s.positions[0]
	s.life, s.stop = context.WithCancel(ctx)
	for i, subject := range [...]string{InstancesSubject(service), ServiceSubject(service), "node.>"} {
		f := follower{
			watch: watch, subject: subject, progress: &s.progress,
			next:   func() uint64 { return s.next(i) },
			take:   func(_ context.Context, e Event) error { return s.take(i, e) },
			resync: func(ctx context.Context) error { return s.resync(ctx, i) },
		}
		s.running.Go(func() { f.run(s.life) })
	}
	s.running.Go(s.refresh)
	return s, nil
}

// Close ends the cache. What it shows stays as it is.
func (s *ServiceCache) Close() {
	s.stop()
	s.running.Wait()
}

// State is what the cache shows now.
func (s *ServiceCache) State() *ServiceState { return s.current.Load().ServiceState }

// Revision is the revision that the cache shows now.
func (s *ServiceCache) Revision() uint64 { return s.State().Revision }

// Passing are the instances that may be used now; see ServiceState.
func (s *ServiceCache) Passing() []InstanceState { return s.State().Passing() }

// Pick gives one of them; see ServiceState.
func (s *ServiceCache) Pick() (InstanceState, bool) { return s.State().Pick() }

// Status says how the cache stands.
func (s *ServiceCache) Status() CacheStatus { return s.progress.status(s.Revision()) }

// WaitRevision returns when the cache shows a revision, such as that of one's own registration. A revision that is not there
// yet is waited for. It fails when the context ends, or the cache.
func (s *ServiceCache) WaitRevision(ctx context.Context, revision uint64) error {
	shown := func() (uint64, <-chan struct{}) {
		v := s.current.Load()
		return v.Revision, v.superseded
	}
	return awaitRevision(ctx, s.life, revision, shown, func(ctx context.Context) error { return s.ask(ctx, revision) })
}

// Sync returns when the cache shows everything that was committed, by anybody, before the call.
func (s *ServiceCache) Sync(ctx context.Context) error {
	head, err := s.client.head(ctx)
	if err != nil {
		return fmt.Errorf("synchronize the cache of service %q: %w", s.service, err)
	}
	return s.WaitRevision(ctx, head)
}

// States yields what the cache shows, and then each state that says something else, until the context or the cache ends. A
// reader that takes its time misses states, and never the last one.
func (s *ServiceCache) States(ctx context.Context) iter.Seq[*ServiceState] {
	return func(yield func(*ServiceState) bool) {
		for last := -1; ctx.Err() == nil && s.life.Err() == nil; {
			v := s.current.Load()
			if v.content != last {
				if last = v.content; !yield(v.ServiceState) {
					return
				}
				continue
			}
			select {
			case <-v.superseded:
			case <-ctx.Done():
			case <-s.life.Done():
			}
		}
	}
}

func (s *ServiceCache) next(i int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.positions[i] + 1
}

// nodesStream is the number of the subject of all nodes.
const nodesStream = 2

// take takes one event or bookmark of a subject.
func (s *ServiceCache) take(i int, e Event) error {
	var w struct {
		Node string `json:"node"`
	}
	if i == nodesStream && !e.IsBookmark() {
		if err := json.Unmarshal(e.Data, &w); err != nil {
			return fmt.Errorf("read event %d: %w", e.Revision, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sources[i] == "" {
		s.sources[i] = e.Source
	}
	if s.follows[i] != s.history || e.Source != "" && e.Source != s.sources[i] {
		return errRestored
	}
	jump := e.Revision > s.positions[i]+verifyJump // maybe into another history, so look
	s.positions[i] = max(s.positions[i], e.Revision)
	switch {
	case e.IsBookmark() && !jump:
	case e.IsBookmark():
		s.want(e.Revision)
	case i == nodesStream && !s.runsOn(w.Node):
		s.nodes[w.Node] = e.Commit
	default:
		s.want(e.Commit)
	}
	s.advance()
	return nil
}

// want has a revision fetched; the caller holds the lock.
func (s *ServiceCache) want(revision uint64) {
	if revision <= s.wanted {
		return
	}
	s.wanted = revision
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

func (s *ServiceCache) runsOn(node string) bool {
	return slices.ContainsFunc(s.State().Instances, func(i InstanceState) bool { return i.Node == node })
}

// advance shows what is shown as of the revision up to which nothing has changed it; the caller holds the lock.
func (s *ServiceCache) advance() {
	v := s.current.Load()
	if v == nil {
		return // it could not be read yet
	}
	now := v.ServiceState
	to := min(s.positions[0], s.positions[1], s.positions[2])
	if s.anew > 0 || s.wanted > now.Revision || to <= now.Revision {
		return
	}
	next := *now
	next.Revision = to
	s.show(&next)
	s.forgetNodes()
}

// forgetNodes forgets the nodes whose last event is in what is shown; the caller holds the lock.
func (s *ServiceCache) forgetNodes() {
	shown := s.State().Revision
	maps.DeleteFunc(s.nodes, func(_ string, at uint64) bool { return at <= shown })
}

// show replaces what is shown; the caller holds the lock.
func (s *ServiceCache) show(state *ServiceState) {
	next := &serviceVersion{ServiceState: state, superseded: make(chan struct{})}
	before := s.current.Load()
	if before != nil {
		next.content = before.content
		if !reflect.DeepEqual(before.Instances, state.Instances) || before.Settings != state.Settings {
			next.content++
		}
	}
	s.current.Store(next)
	if before != nil {
		close(before.superseded)
	}
}

// publish shows what was fetched, unless it is older than what is shown; the caller holds the lock.
func (s *ServiceCache) publish(state *ServiceState) {
	s.progress.heard()
	if now := s.current.Load(); now == nil || state.Revision > now.Revision {
		s.replace(state)
	}
}

// replace shows what was fetched; the caller holds the lock.
func (s *ServiceCache) replace(state *ServiceState) {
	s.show(state)
	s.forgetNodes()
	for _, i := range state.Instances {
		if at, ok := s.nodes[i.Node]; ok { // behind what is shown
			delete(s.nodes, i.Node)
			s.want(at)
		}
	}
	s.advance()
}

// resync reads the service again as it is now, and follows one of the subjects from there.
func (s *ServiceCache) resync(ctx context.Context, i int) error {
	revision, err := s.read(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positions[i], s.follows[i], s.sources[i] = revision, s.history, ""
	return nil
}

// goBack begins another history, in which less has happened, with a state of it; the caller holds the lock.
func (s *ServiceCache) goBack(state *ServiceState) {
	s.history++
	s.wanted = 0
	clear(s.nodes)
	for i := range s.positions {
		s.positions[i] = min(s.positions[i], state.Revision)
	}
	s.progress.heard()
	s.replace(state)
}

// read reads the service as it is now, and shows it. What was wanted before is forgotten then, for now is behind all of it; where
// it is not, this is another history.
func (s *ServiceCache) read(ctx context.Context) (revision uint64, err error) {
	s.mu.Lock()
	shown := uint64(0)
	if v := s.current.Load(); v != nil {
		shown = v.Revision
	}
	history, wanted := s.history, s.wanted
	s.wanted = 0
	s.anew++
	s.mu.Unlock()
	state, err := s.readHead(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.anew--
	defer s.advance()
	switch {
	case history != s.history:
		return 0, errors.Join(errRestored, err) // what was read may be of the one before
	case err != nil:
		s.want(wanted) // for it is not shown yet
		return 0, err
	case state.Revision < shown:
		s.goBack(state)
	default:
		s.publish(state)
	}
	return state.Revision, nil
}

// readHead reads the service as of the last revision that there is.
func (s *ServiceCache) readHead(ctx context.Context) (*ServiceState, error) {
	head, err := s.client.head(ctx)
	if err != nil {
		return nil, err
	}
	return s.fetch(ctx, head)
}

// fetch reads the service as of a revision that is known to be there, from any server that has it; or as of a later one,
// where that is not kept any more.
func (s *ServiceCache) fetch(ctx context.Context, revision uint64) (*ServiceState, error) {
	for try := 1; ; try++ {
		found, err := s.client.Instances(ctx, s.service, Query{}, At(revision), Stale(), MinRevision(revision))
		p, refused := errors.AsType[*Problem](err)
		switch {
		case err == nil:
			return newServiceState(found), nil
		case errors.Is(err, ErrNotFound):
			return newServiceState(Service{Service: s.service, Revision: revision, Instances: []InstanceState{}}), nil
		case refused && p.Code == ErrHistoryTrimmed && p.KeptFrom > revision && try < snapshotTries:
			revision = p.KeptFrom
		default:
			return nil, err
		}
	}
}

// ask fetches the service as of a revision, if that is not shown yet.
func (s *ServiceCache) ask(ctx context.Context, revision uint64) error {
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.asking }()
	s.mu.Lock()
	history := s.history
	s.mu.Unlock()
	if s.Revision() >= revision {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	state, err := s.fetch(ctx, revision)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if history == s.history { // else nothing of it counts
		s.publish(state)
	}
	return nil
}

// refresh fetches what is wanted, until it is shown.
func (s *ServiceCache) refresh() {
	for failures := 0; ; {
		select {
		case <-s.dirty:
		case <-s.life.Done():
			return
		}
		for wanted := s.behind(); wanted > 0; wanted = s.behind() {
			err := s.ask(s.life, wanted)
			if err == nil {
				failures = 0
				continue
			}
			if beginsAnew(err) { // that revision is none of the history that there is now
				_, err = s.read(s.life)
			}
			failures++
			s.progress.failed(err)
			if pause(s.life, max(backoff(failures, err), time.Millisecond)) != nil {
				return
			}
		}
	}
}

// behind is the revision that is wanted; zero where it is shown.
func (s *ServiceCache) behind() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted <= s.Revision() {
		return 0
	}
	return s.wanted
}
