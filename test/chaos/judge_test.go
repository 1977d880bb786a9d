package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall/rollcall/test/check"
)

// verdict is what each checker said, by its name; nil where it found nothing.
type verdict map[string]error

// report fails a test for everything that was found.
func (v verdict) report(t *testing.T) {
	t.Helper()
	for name, err := range v {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// judge holds a cluster, in which nothing is broken any more and nobody writes, to its guarantees. It stops the servers.
func judge(c *cluster, r *record, f *followers) verdict {
	v := verdict{}
	ledger, deliveries, err := readLedger(c.servers[0], "default")
	v["LedgerReadable"] = err
	head := uint64(0)
	if len(ledger) > 0 {
		head = ledger[len(ledger)-1].Revision
	}
	v["ServersEqual"] = compareServers(c, r, head)
	got, err := f.end(deliveries)
	v["FollowersCatchUp"] = err
	watches(v, got, deliveries, head)
	v["VerifyPasses"] = verifyAll(c)

	r.mu.Lock()
	defer r.mu.Unlock()
	v["RevisionsContiguous"] = check.RevisionsContiguous(ledger)
	v["NoAcknowledgedWriteLost"] = check.NoAcknowledgedWriteLost(r.history, ledger)
	v["ReadsMatchLedger"] = check.ReadsMatchLedger(r.history, ledger)
	v["WritesMatchLedger"] = check.WritesMatchLedger(r.history, ledger)
	v["RealTimeOrder"] = check.RealTimeOrder(r.history)
	v["MinRevisionHonoured"] = check.MinRevisionHonoured(r.history)
	v["RevisionsNeverFall"] = check.RevisionsNeverFall(r.samples)
	ends, err := leaseEnds(deliveries)
	changes, unread := usable(deliveries, ends)
	v["DNSShowsOnlyUsable"] = errors.Join(unread, check.DNSShowsOnlyUsable(r.looks, changes))
	v["LeasesLastTheirTime"] = errors.Join(err, check.LeasesLastTheirTime(r.leases, ends))
	v["RepeatsAgree"] = check.RepeatsAgree(r.repeats)
	v["KeysLinearizable"] = linearizable(r.history, ledger)
	return v
}

// watches holds what subscribers got to the guarantees of a watch.
func watches(v verdict, got []check.Subscription, ledger []check.Delivery, head uint64) {
	v["SubscribersInOrder"] = check.SubscribersInOrder(got)
	v["SubscribersMissNothing"] = check.SubscribersMissNothing(got, ledger)
	v["BookmarksTrue"] = check.BookmarksTrue(got, ledger)
	v["BookmarksAdvance"] = check.BookmarksAdvance(got, head)
	v["CommitsWhole"] = check.CommitsWhole(got, ledger)
	v["ResumesExact"] = check.ResumesExact(got, ledger)
	v["FilterRight"] = check.FilterRight(got, ledger)
	v["PreviousRight"] = check.PreviousRight(ledger)
	v["CreationRight"] = check.CreationRight(ledger)
	for _, s := range got { // and as they were delivered: of a key that a subscriber follows it has every event
		v["PreviousRight"] = errors.Join(v["PreviousRight"], named(s.Name, check.PreviousRight(s.Events)))
		v["CreationRight"] = errors.Join(v["CreationRight"], named(s.Name, check.CreationRight(s.Events)))
	}
}

// named says whose an error is.
func named(whose string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", whose, err)
	}
	return nil
}

// How long the search for an order may take, for each part of the keys.
const (
	searchLost     = 5 * time.Second
	searchResolved = 5 * time.Minute
)

// linearizable searches twice: with nothing known of requests that were lost, and, where that takes too long, with what
// the ledger says of them.
func linearizable(history []check.Operation, ledger []check.Entry) error {
	err := check.KeysLinearizable(history, searchLost)
	if err != nil && strings.Contains(err.Error(), "could not be judged") {
		return check.KeysLinearizable(check.Resolved(history, ledger), searchResolved)
	}
	return err
}

// readLedger reads the whole ledger of a namespace, as events and as bytes.
func readLedger(s *server, namespace string) (ledger []check.Entry, deliveries []check.Delivery, err error) {
	b, err := get(s, "/v1/"+namespace+"/events")
	if err != nil {
		return nil, nil, err
	}
	for line := range bytes.Lines(b) {
		d, e, err := delivery(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return ledger, deliveries, err
		}
		ledger, deliveries = append(ledger, e), append(deliveries, d)
	}
	return ledger, deliveries, nil
}

// delivery reads an event as it is outside.
func delivery(b []byte) (check.Delivery, check.Entry, error) {
	var e struct {
		Type, Revision, Commit, Reason, Subject string
		Data                                    struct {
			Key, Value        string
			Previous, Version uint64
			Created           uint64 `json:"create_revision"`
		}
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return check.Delivery{}, check.Entry{}, fmt.Errorf("an event that is none: %q: %w", b, err)
	}
	revision, err := strconv.ParseUint(e.Revision, 10, 64)
	if err != nil {
		return check.Delivery{}, check.Entry{}, err
	}
	commit, err := strconv.ParseUint(e.Commit, 10, 64)
	if err != nil {
		return check.Delivery{}, check.Entry{}, err
	}
	entry := check.Entry{Revision: revision, Commit: commit}
	if strings.HasPrefix(e.Type, "rollcall.kv.") {
		entry.ID = e.Reason
		entry.Write = check.Write{Key: e.Data.Key, Value: e.Data.Value, Delete: e.Type == "rollcall.kv.delete"}
	}
	d := check.Delivery{Revision: revision, Commit: commit, Bytes: string(b), Subject: e.Subject}
	d.Begins = e.Type == "rollcall.namespace.open"
	d.Ends = e.Type == "rollcall.namespace.close"
	switch e.Type {
	case "rollcall.kv.put", "rollcall.kv.delete", "rollcall.kv.expire":
		d.Change = check.Change{Key: e.Data.Key, Gone: e.Type != "rollcall.kv.put", Previous: e.Data.Previous, Created: e.Data.Created, Version: e.Data.Version}
	}
	return d, entry, nil
}

// compareServers takes from each server all keys and all events as of a revision. The keys also become reads, which are
// held to an own fold of the events; so do those of a revision in the middle.
func compareServers(c *cluster, r *record, head uint64) error {
	var digests []check.Digest
	var errs []error
	for _, s := range c.servers {
		digest := sha256.New()
		for _, path := range []string{
			"/v1/default/events?consistency=stale&min-revision=%d&to=%[1]d", "/v1/default/kv?consistency=stale&at=%d",
		} {
			b, err := get(s, fmt.Sprintf(path, head))
			if err != nil {
				errs = append(errs, err)
			}
			digest.Write(b)
		}
		digests = append(digests, check.Digest{Server: s.name, Of: "ledger and keys", Revision: head, Sum: fmt.Sprintf("%x", digest.Sum(nil))})
		for _, at := range []uint64{head / 2, head} {
			errs = append(errs, lookAt(s, r, at))
		}
	}
	return errors.Join(append(errs, check.ServersEqual(digests))...)
}

// lookAt records all keys as a server shows them at a revision.
func lookAt(s *server, r *record, at uint64) error {
	o := check.Operation{ID: fmt.Sprintf("all keys of %s at %d", s.name, at), Server: s.name, Call: r.now(), Consistency: check.Stale}
	b, err := get(s, fmt.Sprintf("/v1/default/kv?consistency=stale&at=%d", at))
	if err != nil {
		return err
	}
	var keys []string
	for _, part := range parts {
		for _, name := range names {
			keys = append(keys, part+"/"+name)
		}
	}
	o.Reads, err = shows(reply{status: 200, body: string(b)}, nil, keys)
	o.Outcome, o.Revision, o.Return = check.OK, at, r.now()
	r.operation(o, "look ok")
	return err
}

// verifyAll stops every server, holds its views to its ledgers, and compares what came of that.
func verifyAll(c *cluster) error {
	var digests []check.Digest
	var errs []error
	for _, s := range c.servers {
		s.stop()
	}
	for _, s := range c.servers {
		out, err := command("verify", "--data", s.data, "--json")
		if err != nil {
			errs = append(errs, fmt.Errorf("server %s: %w", s.name, err))
			continue
		}
		digests = append(digests, verified(s.name, out))
	}
	return errors.Join(append(errs, check.ServersEqual(digests))...)
}

// verified is what verify says of the namespace's ledger. Servers that were stopped one after the other may end at other
// revisions of _system's.
func verified(name, out string) check.Digest {
	var l struct {
		Namespace, Root string
		Events          uint64
	}
	for line := range strings.Lines(out) {
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Namespace == "default" {
			return check.Digest{Server: name, Of: "verified ledger", Revision: l.Events, Sum: strings.TrimSpace(line)}
		}
	}
	return check.Digest{Server: name, Of: "verified ledger", Sum: "none"}
}

// summary says in one line what a run came to.
func (r *record) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for code, n := range r.codes {
		all = append(all, fmt.Sprintf("%s %d", code, n))
	}
	slices.Sort(all)
	renewals, gone := 0, 0
	for _, l := range r.leases {
		renewals += len(l.Renewals) - 1
		if l.Gone {
			gone++
		}
	}
	return fmt.Sprintf("%d operations, %d samples, %d repeats, %d looks at DNS, %d leases kept alive %d times, of which %d were lost: %s",
		len(r.history), len(r.samples), len(r.repeats), len(r.looks), len(r.leases), renewals, gone, strings.Join(all, ", "))
}
