package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rollcall/rollcall/fault"
)

// trouble breaks a cluster again and again, a minority at a time but for a loss of everything, and heals it. What it
// does, and when, comes from the seed.
type trouble struct {
	*cluster
	random *rand.Rand
	// happened counts what was done, by name.
	happened map[string]int
	errs     []error
}

func newTrouble(c *cluster, chance int64) *trouble {
	return &trouble{cluster: c, random: rand.New(rand.NewPCG(uint64(chance), 0)), happened: map[string]int{}}
}

// misfortune is one kind of trouble. It gives how the cluster is healed; nil where it heals by itself.
type misfortune struct {
	name  string
	least int // how many servers it needs
	do    func(t *trouble, s *server) (heal func())
}

func misfortunes() []misfortune {
	return []misfortune{
		{"kill", 1, (*trouble).kill},
		{"kill all", 1, (*trouble).killAll},
		{"restart", 1, (*trouble).restart},
		{"pause", 1, (*trouble).pause},
		{"die at a point", 1, (*trouble).die},
		{"full disk", 1, (*trouble).fillDisk},
		{"save a snapshot", 1, (*trouble).save},
		{"cut off", 3, (*trouble).cutOff},
		{"cut one way", 3, (*trouble).cutOneWay},
		{"slow links", 3, (*trouble).slowDown},
		{"flip a bit", 3, (*trouble).flip},
		{"wipe", 3, (*trouble).wipe},
		{"come and go", 3, (*trouble).comeAndGo},
		{"clients held up", 1, (*trouble).holdClients},
		{"clients held up one way", 1, (*trouble).holdClientsOneWay},
		{"clients reset", 1, (*trouble).resetClients},
		{"clients slowed down", 1, (*trouble).slowClients},
	}
}

// run goes on until a time, and once through all kinds of trouble at least.
func (t *trouble) run(until time.Time) {
	var all []misfortune
	for _, m := range misfortunes() {
		if m.least <= len(t.servers) {
			all = append(all, m)
		}
	}
	for i := 0; i < len(all) || time.Now().Before(until); i++ {
		if i%len(all) == 0 {
			t.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		}
		if !t.once(all[i%len(all)]) {
			return
		}
	}
}

// once has one misfortune happen, to the leader half the time, and waits until the cluster is well again.
func (t *trouble) once(m misfortune) bool {
	s := t.servers[t.random.IntN(len(t.servers))]
	if leads := t.leader(s); leads != nil && t.random.IntN(2) == 0 {
		s = leads
	}
	t.happened[m.name]++
	t.logf("%s: %s", m.name, s.name)
	if heal := m.do(t, s); heal != nil {
		t.wait(300, 1500)
		heal()
	}
	if err := t.awaitReady(); err != nil {
		t.errs = append(t.errs, fmt.Errorf("RecoversInTime: after %q on %s: %w", m.name, s.name, err))
		return false
	}
	if err := eventually("a vote for every server", recovery, t.whole); err != nil {
		t.errs = append(t.errs, fmt.Errorf("RecoversInTime: after %q on %s: %w", m.name, s.name, err))
		return false
	}
	t.wait(50, 300)
	return true
}

// wait lets a random time pass, in milliseconds.
func (t *trouble) wait(least, most int) {
	<-time.After(time.Duration(least+t.random.IntN(most-least)) * time.Millisecond)
}

func (t *trouble) kill(s *server) func() {
	s.kill()
	return func() { s.start() }
}

func (t *trouble) killAll(*server) func() {
	for _, s := range t.servers {
		s.kill()
	}
	return func() {
		for _, s := range t.servers {
			s.start()
		}
	}
}

func (t *trouble) restart(s *server) func() {
	s.stop()
	s.start()
	return nil
}

// pause is longer than an election: whoever led does not know that somebody else does.
func (t *trouble) pause(s *server) func() {
	s.signal(syscall.SIGSTOP)
	t.wait(600, 1500)
	return func() { s.signal(syscall.SIGCONT) }
}

// die has a server die at a point; where that is not passed in time it is killed.
func (t *trouble) die(s *server) func() {
	points := fault.Points()
	t.obey(s, fmt.Sprintf("crash %s %d", points[t.random.IntN(len(points))], 1+t.random.IntN(20)))
	return func() {
		s.kill()
		s.start()
	}
}

// fillDisk has no file grow any more beyond a little more than what new ones need. The server may die of it.
func (t *trouble) fillDisk(s *server) func() {
	t.obey(s, fmt.Sprintf("filesize %d", t.random.IntN(64<<10)))
	t.wait(300, 800)
	return func() {
		s.kill()
		s.start()
	}
}

func (t *trouble) obey(s *server, directives ...string) {
	if err := s.obey(directives...); err != nil {
		t.errs = append(t.errs, fmt.Errorf("tell %s to %q: %w", s.name, directives, err))
	}
}

// healLinks has no server lose or delay anything any more.
func (t *trouble) healLinks() {
	for _, s := range t.servers {
		t.obey(s)
	}
}

func (t *trouble) cutOff(s *server) func() {
	var from []string
	for _, other := range t.servers {
		if other != s {
			from = append(from, "cut "+other.name+" "+s.name)
			t.obey(other, "cut "+s.name+" "+other.name)
		}
	}
	t.obey(s, from...)
	return t.healLinks
}

// cutOneWay has nothing that a server sends arrive, or nothing arrive at it.
func (t *trouble) cutOneWay(s *server) func() {
	deaf := t.random.IntN(2) == 0
	var from []string
	for _, other := range t.servers {
		switch {
		case other == s:
		case deaf:
			from = append(from, "cut "+other.name+" "+s.name)
		default:
			t.obey(other, "cut "+s.name+" "+other.name)
		}
	}
	if deaf {
		t.obey(s, from...)
	}
	return t.healLinks
}

func (t *trouble) slowDown(s *server) func() {
	for _, other := range t.servers {
		if other != s {
			t.obey(other, fmt.Sprintf("slow %s %s %dms", s.name, other.name, 1+t.random.IntN(40)))
		}
	}
	return t.healLinks
}

// wipe has a server lose its folder: it comes back as another one, with all that the others have.
func (t *trouble) wipe(s *server) func() {
	s.kill()
	if err := os.RemoveAll(s.data); err != nil {
		t.errs = append(t.errs, err)
	}
	return func() { s.start() }
}

// comeAndGo has a server join, be promoted and be removed, one after the other, while clients write. Nobody asks it.
func (t *trouble) comeAndGo(s *server) func() {
	guest := newServer(t.t, fmt.Sprintf("guest%d", t.happened["come and go"]), filepath.Dir(s.data))
	guest.flags = []string{"--join", "http://" + s.http, "--non-voter"}
	guest.start()
	defer guest.kill()
	if err := eventually("a server that joins is ready", recovery, guest.ready); err != nil {
		t.errs = append(t.errs, err)
	}
	for _, what := range []string{"promote", "remove"} {
		t.must("members", what, guest.name, "--server", "http://"+s.http)
	}
	if err := eventually("a server that was removed has ended", recovery, guest.ended); err != nil {
		t.errs = append(t.errs, err)
	}
	return nil
}

// save has a whole snapshot saved, which must be one.
func (t *trouble) save(s *server) func() {
	file := s.data + ".snapshot"
	defer func() { _ = os.Remove(file) }()
	t.must("snapshot", "save", file, "--server", "http://"+s.http)
	t.must("snapshot", "inspect", file)
	return nil
}

// must runs a command that has to succeed before long: a leader that has just changed may have it refused.
func (t *trouble) must(args ...string) {
	var last error
	if err := eventually("done", 20*time.Second, func() bool {
		_, last = command(args...)
		return last == nil
	}); err != nil {
		t.errs = append(t.errs, last)
	}
}
