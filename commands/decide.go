package commands

import (
	"github.com/rollcall/rollcall/log/event"
)

// Decision is an accepted command: the events to write and what to tell the caller.
type Decision struct {
	// Events are the facts to record, in order. None means that the state was already as asked for.
	Events []event.Body
	// Skip is how many revisions to leave out before the first event; the event says so too. It is for restores.
	Skip event.Revision
	// Request is what the events remember of the request that they answer; nil where it had no idempotency key.
	Request *event.Request
	// Answer goes back to the caller. Where it speaks of this very commit it holds revision 0, because the
	// number is not known yet: Answer.Resolve fills it in.
	Answer Answer
	// BytesRead is how many bytes of keys and values the answer holds.
	BytesRead int
}

// Situation is where and when a command is decided.
type Situation struct {
	Ledger string
	Now    event.Time
	// Asked is when the proposer's clock said that it was asked. It may be before Now.
	Asked event.Time
	// Usage is how much the namespace holds, after every command before this one.
	Usage event.Usage
	// Past gives the state as it was at an earlier revision, from State.Floor on. Commands with an idempotency
	// key need it, and those that ask whether something has changed.
	Past func(event.Revision) State
	// ReadBytes is how many bytes of keys and values the answer may hold, besides event.TxnReadBytesMax.
	ReadBytes int
}

// Answer is what the caller of an accepted command learns.
type Answer struct {
	// Revision is the commit; for a command that had nothing to change, the revision of what is there.
	Revision event.Revision `cbor:"1,keyasint,omitempty"`
	// Branch says which branch of a transaction ran, and Failed which of its conditions did not hold.
	Branch Branch `cbor:"2,keyasint,omitempty"`
	Failed []int  `cbor:"3,keyasint,omitempty"`
	// Results has one element for each operation of the branch; a command that is no transaction has one.
	Results []Result `cbor:"4,keyasint,omitempty"`
}

// Branch names the branch of a transaction.
type Branch uint8

// The branches.
const (
	NoBranch   Branch = 0
	BranchThen Branch = 1
	BranchElse Branch = 2
)

// Result is what one operation did.
type Result struct {
	Revision event.Revision `cbor:"1,keyasint,omitempty"`
	Created  bool           `cbor:"2,keyasint,omitempty"`  // a put or register made something that was not there
	Deleted  uint64         `cbor:"3,keyasint,omitempty"`  // how many keys or instances a delete removed
	Entries  []event.Entry  `cbor:"4,keyasint,omitempty"`  // what a get read
	Group    uint64         `cbor:"5,keyasint,omitempty"`  // where a namespace was placed
	Replica  uint64         `cbor:"6,keyasint,omitempty"`  // a member's number
	Key      string         `cbor:"7,keyasint,omitempty"`  // the name of what was made, where the decision gave it one
	More     bool           `cbor:"8,keyasint,omitempty"`  // there was too much for one commit: it is to be done again
	Put      uint64         `cbor:"10,keyasint,omitempty"` // how many keys a tree wrote
}

// Resolve fills in the number of the commit, once it is known, wherever the answer speaks of it.
func (a *Answer) Resolve(commit event.Revision) {
	if a.Revision == 0 {
		a.Revision = commit
	}
	for i := range a.Results {
		r := &a.Results[i]
		if r.Revision == 0 {
			r.Revision = a.Revision
		}
		for j := range r.Entries {
			e := &r.Entries[j]
			if e.Revision == 0 {
				e.Revision = commit
			}
			if e.CreateRevision == 0 {
				e.CreateRevision = commit
			}
		}
	}
}

// Decide answers a command with the events to write, or with a rejection. It is pure: the same state, time and
// order give the same answer on every replica and in every replay.
func Decide(s State, at Situation, o Order) (Decision, *Rejection) {
	if o.Key != "" {
		return decideOnce(s, at, o)
	}
	return decideWithin(s, at, o)
}

// decide decides a command as the version that it was written for has it. Where a version changed something, that
// stands behind a comparison with o.Version.
func decide(s State, at Situation, o Order) (Decision, *Rejection) {
	if r := Validate(o.Command); r != nil {
		return Decision{}, r
	}
	if open, ok := o.Command.(OpenNamespace); ok {
		return decideOpenNamespace(s, at.Ledger, open)
	}
	if s.Head() == 0 {
		return Decision{}, reject(CodeUnknownNamespace, "namespace %q is not open here", at.Ledger)
	}
	if r := living(s, at.Ledger, o.Command); r != nil {
		return Decision{}, r
	}
	switch c := o.Command.(type) {
	case PutKey:
		return decidePut(s, c)
	case DeleteKey:
		return decideDelete(s, c)
	case DeletePrefix:
		return decideDeletePrefix(s, c)
	case Txn:
		return decideTxn(s, at, c)
	case AppendKey:
		return decideAppend(s, c)
	case CreateSession:
		return decideCreateSession(s, c)
	case EndSession:
		return decideEndSession(s, c)
	case ClaimTimekeeper:
		return decideClaim(s, at.Ledger, c)
	case Expire:
		return decideExpire(s, at.Ledger, c)
	case PutTree:
		return decideTree(s, at, c)
	case RegisterInstance, DeregisterInstance, ReportStatus, SetInstanceMaintenance,
		SetNodeMaintenance, PutNode, DeleteNode, ConfigureService:
		return decideDiscovery(s, c)
	case CreateNamespace:
		return decideCreateNamespace(s, at.Ledger, c)
	case AddMember:
		return decideAddMember(s, at.Ledger, c)
	case PromoteMember:
		return decidePromoteMember(s, c)
	case RemoveMember:
		return decideRemoveMember(s, c)
	case RestoreNamespace:
		return decideRestoreNamespace(s, at.Ledger, c)
	case AnnounceVersion:
		return decideAnnounceVersion(s, c)
	case SetClusterVersion:
		return decideSetClusterVersion(s, at.Ledger, c)
	case ConfigureNamespace:
		return decideConfigure(s, at.Ledger, c)
	case ApplySettings:
		return decideApplySettings(s, at.Ledger, c)
	case TrimHistory:
		return decideTrim(s, at.Ledger, c)
	case CloseNamespace:
		return decideClose(s, at.Ledger, c)
	case ClearNamespace:
		return decideClear(s, at.Ledger, c)
	case DeleteNamespace:
		return decideDeleteNamespace(s, at.Ledger, c)
	case FillNamespace:
		return decideFill(s, at.Ledger, c)
	}
	return Decision{}, reject(CodeUnknownCommand, "command %T is not known to this version", o.Command)
}

// decideDiscovery decides what is about services, their instances and nodes.
func decideDiscovery(s State, c Command) (Decision, *Rejection) {
	switch c := c.(type) {
	case RegisterInstance:
		return decideRegister(s, c)
	case DeregisterInstance:
		return decideDeregister(s, c)
	case ReportStatus:
		return decideReport(s, c)
	case SetInstanceMaintenance:
		return decideInstanceMaintenance(s, c)
	case SetNodeMaintenance:
		return decideNodeMaintenance(s, c)
	case PutNode:
		return decidePutNode(s, c)
	case DeleteNode:
		return decideDeleteNode(s, c)
	case ConfigureService:
		return decideConfigureService(s, c)
	}
	return Decision{}, reject(CodeUnknownCommand, "command %T is not known to this version", c)
}

// one is the decision of a command with a single event and a single result.
func one(body event.Body, r Result) Decision {
	return Decision{Events: []event.Body{body}, Answer: Answer{Results: []Result{r}}}
}

// nothing is the decision of a command that found everything as it asked for, at a revision.
func nothing(at event.Revision, r Result) Decision {
	r.Revision = at
	return Decision{Answer: Answer{Revision: at, Results: []Result{r}}}
}
