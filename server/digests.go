package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/log/machine"
)

const (
	pathDigest = "/peer/digest"
	// digestWait is how long a server that is asked about a revision which it has not applied waits for it: replicas
	// apply a commit one after the other, and the leader, which is the first, would never find it anywhere otherwise.
	digestWait    = 500 * time.Millisecond
	digestTimeout = 2 * time.Second
)

// digestAnswer is what a server says that a namespace comes to.
type digestAnswer struct {
	Known  bool            `json:"known"`
	Digest *machine.Digest `json:"digest,omitempty"`
}

// digestHandler answers GET /peer/digest?namespace=&revision=, out of a function that finds digests.
func digestHandler(find func(ctx context.Context, namespace string, at event.Revision) (machine.Digest, bool, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		at, err := strconv.ParseUint(query.Get("revision"), 10, 63)
		if err != nil {
			p := gateway.NewProblem(gateway.CodeInvalidParameter, "revision %q: a number, or 0 for the newest", query.Get("revision"))
			answerJSON(w, p.Status, p)
			return
		}
		d, known, err := find(r.Context(), query.Get("namespace"), event.Revision(at))
		var missing gateway.UnknownNamespaceError
		switch {
		case errors.As(err, &missing), errors.Is(err, log.ErrNoLedger): // the asker is ahead, or wrong about it
			answerJSON(w, http.StatusOK, digestAnswer{})
		case err != nil:
			p := gateway.ProblemOf(outside(err))
			answerJSON(w, p.Status, p)
		case !known:
			answerJSON(w, http.StatusOK, digestAnswer{})
		default:
			answerJSON(w, http.StatusOK, digestAnswer{Known: true, Digest: &d})
		}
	})
}

// askDigest asks the server at an address for a digest.
func askDigest(ctx context.Context, client *http.Client, server, namespace string, at event.Revision) (machine.Digest, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, digestTimeout)
	defer cancel()
	query := url.Values{"namespace": {namespace}, "revision": {strconv.FormatUint(uint64(at), 10)}}
	var a digestAnswer
	if err := askJSON(ctx, client, server, http.MethodGet, pathDigest+"?"+query.Encode(), nil, &a); err != nil {
		return machine.Digest{}, false, err
	}
	if !a.Known || a.Digest == nil {
		return machine.Digest{}, false, nil
	}
	return *a.Digest, true, nil
}

// digest gives what a namespace comes to on this server at a revision, zero meaning the newest, and waits a little for
// a revision that is still to come.
func (s *Server) digest(ctx context.Context, namespace string, at event.Revision) (machine.Digest, bool, error) {
	if q := s.quarantined.Load(); q != nil {
		return machine.Digest{}, false, q.problem()
	}
	group, err := s.placement.group(namespace)
	if err != nil {
		return machine.Digest{}, false, err
	}
	waiting, cancel := context.WithTimeout(ctx, digestWait)
	defer cancel()
	var notThere gateway.RevisionError
	if err := s.await(waiting, group, namespace, at); err != nil && !errors.As(err, &notThere) {
		return machine.Digest{}, false, err
	}
	return s.log.Digest(group, namespace, at)
}

// newComparer is the comparison of this server with the members of its cluster.
func newComparer(s *Server) *comparer {
	return &comparer{
		name: s.config.Name,
		voter: func() bool {
			members, _, _ := s.roll()
			for _, m := range members {
				if m.Replica == s.identity.Replica {
					return m.Voter
				}
			}
			return false
		},
		namespaces: s.Namespaces,
		own: func(namespace string, at event.Revision) (machine.Digest, bool, error) {
			group, err := s.placement.group(namespace)
			if err != nil {
				return machine.Digest{}, false, err
			}
			return s.log.Digest(group, namespace, at)
		},
		peers:    s.digestPeers,
		diverged: s.diverged,
		logger:   s.config.Logger,
		pause:    pause,
	}
}

// digestPeers are the other servers of the cluster.
func (s *Server) digestPeers() []digestPeer {
	members, _, _ := s.roll()
	var all []digestPeer
	for _, m := range members {
		if m.Replica == s.identity.Replica || m.Nonce == "" {
			continue
		}
		all = append(all, digestPeer{name: m.Name, voter: m.Voter, ask: func(ctx context.Context, namespace string, at event.Revision) (machine.Digest, bool, error) {
			return askDigest(ctx, s.transport.Client(), m.Address, namespace, at)
		}})
	}
	return all
}
