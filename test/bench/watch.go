package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The load of -watch: every watcher watches the one key that changes, so it gets every change.
const (
	watchersShared   = 20 // on a connection, where they share
	changesPerSecond = 100
	watchedKey       = "bench/watched"
	// lateAfter is how long what is still under way is awaited after the last change.
	lateAfter = 20 * time.Second
)

// watchers is how many there are.
var watchers = 1000

// The goals, as shares of etcd's figures.
const (
	goalLatency       = 1.0 / 3
	goalShared        = 1.0 / 3
	goalConnectionEnd = 1.4
)

// door is a way to watch, and to write through the same kind of client.
type door struct {
	name string
	// connect opens one connection with n watchers, each of which hands what it receives to its own taker. A taker is
	// called by one goroutine at a time.
	connect func(takers []taker) (hangUp func(), err error)
	put     func(ctx context.Context, value []byte) error
	pid     int // of the server
	// lone says that a connection carries one watcher only.
	lone bool
}

// taker takes the bytes of one change as they came.
type taker func(message []byte)

// watch measures watches through every door of Rollcall, beside etcd's, in turn.
func watch(binary string, duration time.Duration, only string) error {
	data, err := os.MkdirTemp("", "rollcall-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	s, _, err := start(binary, data)
	if err != nil {
		return err
	}
	defer func() { s.kill() }()
	requests, hangUp, err := s.requests()
	if err != nil {
		return err
	}
	defer hangUp()
	peer, err := startEtcd(filepath.Join(data, "etcd"))
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	doors := append([]door{peer.door()}, s.doors(requests)...)
	for _, perConnection := range []int{watchersShared, 1} {
		if err = watchAll(doors, perConnection, duration, only); err != nil {
			break
		}
	}
	return errors.Join(err, peer.stop())
}

// watchAll measures each door with so many watchers on a connection and prints a table.
func watchAll(doors []door, perConnection int, duration time.Duration, only string) error {
	goal := goalShared
	if perConnection == 1 {
		goal = goalConnectionEnd
	}
	fmt.Printf("%d watchers, %d on a connection, %d changes/s for %s; goal: p99 at most %.2f of etcd's, server at most %.2f\n",
		watchers, perConnection, changesPerSecond, duration, goalLatency, goal)
	fmt.Printf("%-10s %8s %7s %6s %7s %9s %9s %9s %9s %7s %7s  %s\n",
		"door", "received", "missed", "twice", "failed", "p50", "p99", "ack p50", "ack p99", "server", "client", "of etcd's: p99, server")
	var peer watched
	for i, d := range doors {
		if d.lone && perConnection > 1 || i > 0 && only != "" && d.name != only {
			continue
		}
		w, err := measureDoor(d, perConnection, duration)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if i == 0 {
			peer = w
		}
		p99, server := w.p99.Seconds()/peer.p99.Seconds(), w.server.Seconds()/peer.server.Seconds()
		fmt.Printf("%-10s %8d %7d %6d %7d %9s %9s %9s %9s %6.2fs %6.2fs  %.2f, %.2f\n", d.name, w.received, w.missed, w.twice, w.failed,
			w.p50, w.p99, w.ackP50, w.ackP99, w.server.Seconds(), w.client.Seconds(), p99, server)
	}
	fmt.Println()
	return nil
}

// watched is what a run through a door gave.
type watched struct {
	received, missed, twice int
	failed                  int           // changes that were not acknowledged
	p50, p99                time.Duration // from when a change was sent to its receipt
	ackP50, ackP99          time.Duration // from when a change was sent to its acknowledgement
	server, client          time.Duration // of processors
}

// measureDoor lets the watchers in, writes, and waits until all have everything.
func measureDoor(d door, perConnection int, duration time.Duration) (watched, error) {
	r := newRecorder(int(duration.Seconds() * changesPerSecond))
	takers := make([]taker, watchers)
	for i := range takers {
		takers[i] = r.taker(i)
	}
	var mu sync.Mutex
	var hangUps []func()
	defer func() {
		for _, hangUp := range hangUps {
			hangUp()
		}
	}()
	// A few at a time: a thousand that knock in the same millisecond is another load than this one.
	err := inParallel(watchers/perConnection, 16, func(i int) error {
		hangUp, err := d.connect(takers[i*perConnection : (i+1)*perConnection])
		if err == nil {
			mu.Lock()
			hangUps = append(hangUps, hangUp)
			mu.Unlock()
		}
		return err
	})
	if err != nil {
		return watched{}, err
	}
	// All are in when a change has come to each: change 0 is for that, and does not count.
	if err := r.settle(d); err != nil {
		return watched{}, err
	}
	server, client := processorOf(d.pid), ownProcessor()
	r.write(d)
	r.await()
	w := r.result()
	w.server, w.client = processorOf(d.pid)-server, ownProcessor()-client
	return w, nil
}

// inParallel does n things, some at a time.
func inParallel(n, workers int, do func(i int) error) error {
	errs := make(chan error, workers)
	var next atomic.Int64
	for range workers {
		go func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var all error
	for range workers {
		all = errors.Join(all, <-errs)
	}
	return all
}

// recorder notes what the watchers receive. Changes are numbered from 1; number 0 is written until it has come to all.
type recorder struct {
	began    time.Time
	changes  int
	sent     []atomic.Int64 // when each change was sent, since began
	acked    []time.Duration
	seen     [][]uint64        // by watcher, a bit for each change
	took     [][]time.Duration // by watcher
	twice    []int
	settled  atomic.Int64 // watchers that have received number 0
	received atomic.Int64
	failed   atomic.Int64  // changes that were not acknowledged
	done     chan struct{} // closed when everything has been received
}

func newRecorder(changes int) *recorder {
	r := &recorder{
		began: time.Now(), changes: changes, sent: make([]atomic.Int64, changes+1), acked: make([]time.Duration, changes+1),
		seen: make([][]uint64, watchers), took: make([][]time.Duration, watchers), twice: make([]int, watchers), done: make(chan struct{}),
	}
	for i := range watchers {
		r.seen[i], r.took[i] = make([]uint64, changes/64+1), make([]time.Duration, 0, changes)
	}
	return r
}

// mark stands before the number in a value, of which it is found again whatever a door wraps around it.
const mark = "change="

// value is the value of 256 bytes of a change.
func (r *recorder) value(number int) []byte {
	return fmt.Appendf(nil, "%s%010d%s", mark, number, bytes.Repeat([]byte("v"), 256-len(mark)-10))
}

// taker notes what one watcher receives.
func (r *recorder) taker(watcher int) taker {
	settled := false
	return func(message []byte) {
		at := time.Since(r.began)
		i := bytes.Index(message, []byte(mark))
		if i < 0 || len(message) < i+len(mark)+10 {
			return // a change of something else
		}
		number, err := strconv.Atoi(string(message[i+len(mark) : i+len(mark)+10]))
		switch bit := uint64(1) << (number % 64); {
		case err != nil || number > r.changes:
			return
		case number == 0:
			if !settled {
				settled = true
				r.settled.Add(1)
			}
			return
		case r.seen[watcher][number/64]&bit != 0:
			r.twice[watcher]++
			return
		default:
			r.seen[watcher][number/64] |= bit
		}
		r.took[watcher] = append(r.took[watcher], at-time.Duration(r.sent[number].Load()))
		if r.received.Add(1) == int64(r.changes*watchers) {
			close(r.done)
		}
	}
}

// settle writes number 0 until every watcher has received it.
func (r *recorder) settle(d door) error {
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		if err := d.put(context.Background(), r.value(0)); err != nil {
			return err
		}
		for wait := time.Now(); time.Since(wait) < time.Second; time.Sleep(5 * time.Millisecond) {
			if int(r.settled.Load()) == watchers {
				return nil
			}
		}
	}
	return fmt.Errorf("%d of %d watchers received the first change", r.settled.Load(), watchers)
}

// write sends the changes evenly, whether or not those before have been acknowledged.
func (r *recorder) write(d door) {
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / changesPerSecond)
	defer ticker.Stop()
	for number := 1; number <= r.changes; number++ {
		<-ticker.C
		value := r.value(number)
		wg.Go(func() {
			at := time.Since(r.began)
			r.sent[number].Store(int64(at))
			if err := d.put(context.Background(), value); err != nil {
				r.failed.Add(1) // on a machine that is busy enough etcd gives up; it is missed where it was not written
			}
			r.acked[number] = time.Since(r.began) - at
		})
	}
	wg.Wait()
}

// await returns when everything has been received, or will not be.
func (r *recorder) await() {
	select {
	case <-r.done:
	case <-time.After(lateAfter):
	}
}

func (r *recorder) result() watched {
	all, acked := slices.Concat(r.took...), slices.Clone(r.acked[1:])
	slices.Sort(all)
	slices.Sort(acked)
	at := func(of []time.Duration, percent int) time.Duration {
		if len(of) == 0 {
			return 0
		}
		return of[len(of)*percent/100].Round(10 * time.Microsecond)
	}
	w := watched{
		received: len(all), failed: int(r.failed.Load()), missed: r.changes*watchers - len(all),
		p50: at(all, 50), p99: at(all, 99), ackP50: at(acked, 50), ackP99: at(acked, 99),
	}
	for _, n := range r.twice {
		w.twice += n
	}
	return w
}

// ownProcessor is how much time of processors this process has used.
func ownProcessor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
