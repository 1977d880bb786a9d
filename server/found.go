package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
)

// How a server comes to belong to a cluster.
//
// Alone, it makes one of its own. With --bootstrap, the founder whose name comes first waits until every other founder
// has answered that its data folder is new, then gives out the numbers, by name and nonce, and writes them down; the
// others ask until they find their own name and nonce in somebody's list. Since a founding takes everybody's word, a
// server that was wiped cannot found a second cluster as long as a single one of the others remembers the first; and
// since the numbers are bound to nonces, it cannot take up its old number either: it joins as a new replica. With
// --join, a server is new, or was wiped, and says so.

const (
	pathHello = "/peer/hello"
	pathJoin  = "/peer/join"
)

// hello is what a server says of itself to those that want to found or to join.
type hello struct {
	Name     string    `json:"name"`
	Nonce    string    `json:"nonce"`
	Expects  string    `json:"expects,omitempty"` // the founders, as its configuration has them
	Cluster  string    `json:"cluster,omitempty"` // empty while it belongs to none
	Groups   uint64    `json:"groups,omitempty"`
	Version  uint32    `json:"version,omitempty"` // of the decisions, which it knows
	Founders []founder `json:"founders,omitempty"`
}

func (s *Server) hello() hello {
	founders, _ := s.config.founders() // which were checked when it started
	s.mu.Lock()
	defer s.mu.Unlock()
	return hello{Name: s.config.Name, Nonce: s.nonce, Expects: listOf(founders), Cluster: s.identity.Cluster, Groups: s.identity.Groups, Version: commands.Version, Founders: s.identity.Founders}
}

// listOf writes founders as --bootstrap does, in one order.
func listOf(founders []founder) string {
	all := make([]string, len(founders))
	for i, f := range founders {
		all[i] = f.Name + "=" + f.Raft
	}
	return strings.Join(all, ",")
}

// become takes on an identity, for good.
func (s *Server) become(id identity) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := id.write(s.config.Data); err != nil {
		return err
	}
	s.mu.Lock()
	s.identity = id
	s.mu.Unlock()
	s.transport.Join(id.Cluster)
	return nil
}

// belong returns once the server belongs to a cluster.
func (s *Server) belong(ctx context.Context) error {
	s.transport.Handle("GET "+pathHello, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, http.StatusOK, s.hello()) })
	s.transport.Handle("POST "+pathJoin, s.serveJoin)
	id, ok, err := readIdentity(s.config.Data)
	if err != nil {
		return err
	}
	if ok {
		if err := id.check(&s.config); err != nil {
			return err
		}
		s.mu.Lock()
		s.nonce, s.identity = id.Nonce, id
		s.mu.Unlock()
		s.transport.Join(id.Cluster)
		return nil
	}
	if err := checkNoGroups(s.config.Data); err != nil {
		return err
	}
	nonce, err := readNonce(s.config.Data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.nonce = nonce
	s.mu.Unlock()
	founders, err := s.config.founders()
	switch {
	case err != nil:
		return err
	case s.config.Join != "":
		return s.join(ctx, strings.Split(s.config.Join, ","), "/v1/_system/members/"+s.config.Name)
	case founders == nil:
		return s.found([]founder{{Name: s.config.Name, Nonce: nonce, Replica: 1, Raft: s.raftAddress(), Version: commands.Version}})
	}
	return s.meet(ctx, founders)
}

// raftAddress is where the other servers reach this one.
func (s *Server) raftAddress() string {
	if a := s.config.advertised(); !isFreePort(a) {
		return a
	}
	return s.transport.Address()
}

func (s *Server) found(founders []founder) error {
	cluster, err := randomID()
	if err != nil {
		return err
	}
	groups := s.config.Groups
	if groups == 0 {
		groups = DefaultGroups
	}
	i := slices.IndexFunc(founders, func(f founder) bool { return f.Name == s.config.Name })
	return s.become(identity{
		Name: s.config.Name, Nonce: s.nonce, Cluster: cluster, Replica: founders[i].Replica, Raft: founders[i].Raft,
		Groups: groups, Founders: founders,
	})
}

// meet asks the other founders until it is clear what this server is.
func (s *Server) meet(ctx context.Context, founders []founder) error {
	said := time.Now()
	for {
		outcome, err := s.meetOnce(ctx, founders)
		if err != nil || outcome == metCluster {
			return err
		}
		if time.Since(said) > 10*time.Second {
			s.config.Logger.Warn("waiting for the other servers of --bootstrap", "missing", strings.Join(outcome.missing(), ","))
			said = time.Now()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the other servers of --bootstrap (%s): %w", strings.Join(outcome.missing(), ", "), err)
		}
	}
}

// met is which founders have not answered, or that a cluster was found.
type met string

const metCluster met = "cluster"

func (m met) missing() []string { return strings.Fields(string(m)) }

func (s *Server) meetOnce(ctx context.Context, founders []founder) (met, error) {
	var missing []string
	complete := slices.Clone(founders)
	for i, f := range founders {
		if f.Name == s.config.Name {
			complete[i].Nonce, complete[i].Version = s.nonce, commands.Version
			continue
		}
		var h hello
		if err := s.ask(ctx, f.Raft, http.MethodGet, pathHello, nil, &h); err != nil || h.Nonce == "" { // it does not know itself yet
			missing = append(missing, f.Name)
			continue
		}
		if h.Name != f.Name {
			return "", fmt.Errorf("bootstrap: the server at %s is %q, not %q", f.Raft, h.Name, f.Name)
		}
		if h.Cluster != "" {
			return metCluster, s.enter(ctx, h, f.Raft)
		}
		if h.Expects != listOf(founders) {
			return "", fmt.Errorf("bootstrap: server %q was started with %q and this one with %q: they must be the same", f.Name, h.Expects, listOf(founders))
		}
		complete[i].Nonce, complete[i].Version = h.Nonce, h.Version
	}
	if len(missing) == 0 && founders[0].Name == s.config.Name {
		return metCluster, s.found(complete)
	}
	if len(missing) == 0 {
		missing = []string{founders[0].Name} // which has yet to found
	}
	return met(strings.Join(missing, " ")), nil
}

// enter takes this server's place in a cluster that another one belongs to.
func (s *Server) enter(ctx context.Context, h hello, address string) error {
	for _, f := range h.Founders {
		if f.Name == s.config.Name && f.Nonce == s.nonce {
			return s.become(identity{
				Name: f.Name, Nonce: f.Nonce, Cluster: h.Cluster, Replica: f.Replica, Raft: f.Raft, Groups: h.Groups, Founders: h.Founders,
			})
		}
	}
	s.config.Logger.Warn("the cluster exists and this data folder is new: joining as a new replica", "cluster", h.Cluster)
	return s.join(ctx, []string{"http://" + address}, pathJoin)
}

// joinRequest asks to belong to a cluster; joinAnswer is what a server needs to know then. They are the body of
// PUT /v1/_system/members/{name} too.
type joinRequest struct {
	Name  string `json:"name,omitempty"`
	Raft  string `json:"raft"`
	Nonce string `json:"nonce"`
	Voter bool   `json:"voter"`
	// Version is that of the decisions, which the server knows.
	Version uint32 `json:"version"`
}

type joinAnswer struct {
	Cluster string `json:"cluster"`
	Replica uint64 `json:"replica"`
	Groups  uint64 `json:"groups"`
}

// join asks servers of a running cluster until one has taken this server in.
func (s *Server) join(ctx context.Context, servers []string, path string) error {
	method, name := http.MethodPost, s.config.Name
	if path != pathJoin {
		method, name = http.MethodPut, "" // it stands in the path
	}
	request := joinRequest{Name: name, Raft: s.raftAddress(), Nonce: s.nonce, Voter: !s.config.NonVoter, Version: commands.Version}
	var failures error
	for i := 0; ; i++ {
		var a joinAnswer
		err := s.ask(ctx, servers[i%len(servers)], method, path, request, &a)
		if err == nil {
			return s.become(identity{
				Name: s.config.Name, Nonce: s.nonce, Cluster: a.Cluster, Replica: a.Replica, Raft: request.Raft, Groups: a.Groups,
			})
		}
		var refused *gateway.Problem
		if errors.As(err, &refused) && refused.Status < http.StatusInternalServerError {
			return fmt.Errorf("join through %s: %w", servers[i%len(servers)], err)
		}
		failures = err
		s.config.Logger.Warn("cannot join yet", "through", servers[i%len(servers)], "error", err)
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("join: %w (last: %w)", err, failures)
		}
	}
}

// serveJoin takes in a server that was a founder, or was one before it was wiped.
func (s *Server) serveJoin(w http.ResponseWriter, r *http.Request) {
	var q joinRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<10)).Decode(&q); err != nil {
		answerJSON(w, http.StatusBadRequest, gateway.NewProblem(gateway.CodeInvalidJSON, "%v", err))
		return
	}
	a, err := s.takeIn(r.Context(), q)
	if err != nil {
		p := gateway.ProblemOf(err)
		answerJSON(w, p.Status, p)
		return
	}
	answerJSON(w, http.StatusOK, a)
}

// ask makes a request of another server and decodes its answer; a refusal is a *gateway.Problem.
func (s *Server) ask(ctx context.Context, server, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout)+time.Second)
	defer cancel()
	return askJSON(ctx, s.transport.Client(), server, method, path, body, answer)
}

func askJSON(ctx context.Context, client *http.Client, server, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(server, "/")+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		var p gateway.Problem
		if json.Unmarshal(b, &p) == nil && p.Code != "" {
			return &p
		}
		return &answerError{response.StatusCode, fmt.Sprintf("%s %s%s: %s: %.200q", method, server, path, response.Status, b)}
	}
	return json.Unmarshal(b, answer)
}

// answerError is an answer that is neither what was asked for nor a problem.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// isUnknownPath tells whether the server that was asked knows no such question.
func isUnknownPath(err error) bool {
	var a *answerError
	return errors.As(err, &a) && a.status == http.StatusNotFound
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // who asked is gone; there is nobody to tell
}

// pause returns after a while, or with the reason why it ended earlier.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
