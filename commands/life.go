package commands

import "github.com/rollcall/rollcall/log/event"

// A namespace ends in its own ledger first, by one event, behind which nothing else is decided there: that is what makes
// all of it disappear in one commit. Then _system's ledger says so, and the ledger is emptied by ordinary commits. Only
// an empty one can be opened again. No commit spans two ledgers, so whoever goes on with it looks at where both are.

// CloseNamespace ends a namespace; it goes to its own ledger.
type CloseNamespace struct {
	Namespace string `cbor:"1,keyasint"`
	// Placed is the revision of _system's ledger that placed the namespace which is to end: one that was made anew
	// meanwhile is not.
	Placed event.Revision `cbor:"2,keyasint,omitempty"`
}

// ClearNamespace empties the ledger of a namespace that has ended, as far as one commit may go. Where that is not all,
// the result says that there is more. It goes to that ledger.
type ClearNamespace struct {
	Namespace string `cbor:"1,keyasint"`
	// From is the key to begin with, which the result of the one before gives: what was deleted costs a look until it is
	// trimmed, so those that begin with the first key would take longer each time. Nothing else depends on it.
	From string `cbor:"2,keyasint,omitempty"`
}

// DeleteNamespace says that a namespace is no more. It goes to the ledger of event.System, once the namespace's own ledger
// was closed; what a door asks for it has only the name of, and whoever carries it out adds the rest.
type DeleteNamespace struct {
	Namespace string         `cbor:"1,keyasint"`
	Placed    event.Revision `cbor:"2,keyasint,omitempty"` // the commit that placed it
	Closed    event.Revision `cbor:"3,keyasint,omitempty"` // the commit that closed its own ledger
	Expired   bool           `cbor:"4,keyasint,omitempty"` // nobody renewed it
}

// FillNamespace has a namespace that was opened to be filled take over some keys of the one that it is filled from; it
// goes to its own ledger. Those that it has already are passed over, so several may fill it at once.
type FillNamespace struct {
	Namespace string         `cbor:"1,keyasint"`
	Placed    event.Revision `cbor:"2,keyasint"` // the placement that is filled
	Entries   []FillEntry    `cbor:"3,keyasint,omitempty"`
	// Done says that there are no more: from then on the namespace can be used.
	Done bool `cbor:"4,keyasint,omitempty"`
}

// FillEntry is a key that is taken over.
type FillEntry struct {
	Key         string `cbor:"1,keyasint"`
	Value       []byte `cbor:"2,keyasint,omitempty"`
	ContentType string `cbor:"3,keyasint,omitempty"`
	Flags       uint64 `cbor:"4,keyasint,omitempty"`
}

func (CloseNamespace) command()  {}
func (ClearNamespace) command()  {}
func (DeleteNamespace) command() {}
func (FillNamespace) command()   {}

func (CloseNamespace) since() uint32  { return VersionHealth }
func (ClearNamespace) since() uint32  { return VersionHealth }
func (DeleteNamespace) since() uint32 { return VersionHealth }
func (FillNamespace) since() uint32   { return VersionHealth }

func (c CreateNamespace) since() uint32 {
	if c.From != "" {
		return VersionHealth
	}
	return VersionFirst
}

func (c OpenNamespace) since() uint32 {
	if c.Again || c.From != "" {
		return VersionHealth
	}
	return VersionFirst
}

// whichever is the placement of a DeleteNamespace that was decided before, whatever it was: a repeat is to be decided as
// it was, and whoever repeats it may not know any more. Zero is none, and deletes nothing.
const whichever = ^event.Revision(0)

// ValidateEnd says what is wrong with the end of a namespace of a name: two are always there.
func ValidateEnd(namespace string) *Rejection {
	if namespace == event.System || namespace == event.Default {
		return reject(CodeInvalidNamespace, "%q is always there: it can neither be deleted nor have a TTL", namespace)
	}
	return nil
}

func validateFill(c FillNamespace) *Rejection {
	if len(c.Entries) > event.FillEntriesMax {
		return reject(CodeTooLarge, "%d keys to take over; at most %d at once", len(c.Entries), event.FillEntriesMax)
	}
	for _, e := range c.Entries {
		if r := validatePut(PutKey{Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags}); r != nil {
			return r
		}
	}
	return nil
}

// living refuses what a ledger does not take where it stands: nothing is decided for a namespace that has ended, and
// nobody but who fills it for one that is being filled.
func living(s State, ledger string, c Command) *Rejection {
	phase := s.Life().Phase
	if phase == event.Open {
		return nil
	}
	switch c.(type) {
	case OpenNamespace, CloseNamespace, RestoreNamespace:
		return nil // they look for themselves
	case ClearNamespace:
		if phase.Ended() {
			return nil
		}
	case FillNamespace, ApplySettings:
		if phase == event.Filling {
			return nil
		}
	}
	if phase == event.Filling {
		return filling(ledger)
	}
	return ended(ledger)
}

// Unseen refuses to show a namespace to whom it is not there, or not yet.
func Unseen(namespace string, p event.Phase) *Rejection {
	switch {
	case p.Ended():
		return ended(namespace)
	case p == event.Filling:
		return filling(namespace)
	}
	return nil
}

// Ending refuses to make a namespace while the one of that name is being deleted.
func Ending(namespace string) *Rejection { return ending(namespace) }

func ended(namespace string) *Rejection {
	return reject(CodeUnknownNamespace, "namespace %q does not exist: it was deleted, or nobody renewed it", namespace)
}

func filling(namespace string) *Rejection {
	return reject(CodeNamespaceFilling, "namespace %q is still being filled with what it takes over from another: try again in a moment", namespace)
}

func ending(namespace string) *Rejection {
	return reject(CodeNamespaceEnding, "namespace %q is being deleted: it can be made again in a moment", namespace)
}

func decideClose(s State, ledger string, c CloseNamespace) (Decision, *Rejection) {
	if c.Namespace != ledger {
		return Decision{}, reject(CodeInvalidNamespace, "an order to close %q came to the ledger of %q", c.Namespace, ledger)
	}
	if r := ValidateEnd(ledger); r != nil {
		return Decision{}, r
	}
	life := s.Life()
	switch {
	case life.Phase.Ended():
		return Decision{}, ended(ledger)
	case c.Placed != 0 && c.Placed < life.Placed:
		return Decision{}, ending(ledger) // the one that was meant has ended before this one began
	}
	return one(event.NamespaceClosed{Namespace: ledger, Placed: max(c.Placed, lastPlaced(s))}, Result{}), nil
}

// lastPlaced is the newest revision of _system's ledger that a ledger knows to speak of its namespace.
func lastPlaced(s State) event.Revision { return max(s.Life().Placed, s.Settings().Configured) }

// expireNamespace ends a namespace whose TTL has passed; nil where it has none, or another than the timekeeper saw.
func expireNamespace(s State, ledger string, c Expire) *event.NamespaceExpired {
	for _, l := range c.Leases {
		settings := s.Settings()
		if l.Namespace && settings.TTL > 0 && l.Revision == settings.Configured && ValidateEnd(ledger) == nil {
			return &event.NamespaceExpired{Namespace: ledger, Placed: lastPlaced(s), Epoch: c.Epoch, TTL: settings.TTL}
		}
	}
	return nil
}

func decideClear(s State, ledger string, c ClearNamespace) (Decision, *Rejection) {
	if c.Namespace != ledger || !s.Life().Phase.Ended() {
		return Decision{}, reject(CodeInvalidNamespace, "an order to empty %q came to the ledger of %q, which has not ended", c.Namespace, ledger)
	}
	from := c.From
	events, result := clearFrom(s, from)
	if from != "" && len(events) == 0 {
		from = ""
		events, result = clearFrom(s, from)
	}
	if len(events) == 0 {
		return nothing(s.Head(), Result{}), nil
	}
	if from != "" { // nobody has looked before it
		result.Key, result.More = max(result.Key, from), true
	}
	return Decision{Events: events, Answer: Answer{Results: []Result{result}}}, nil
}

// clearFrom empties a ledger from a key on, as far as one commit may go.
func clearFrom(s State, from string) (events []event.Body, r Result) {
	for body := range contents(s, from) {
		if len(events) == event.ClearEventsMax {
			r.More = true
			if key, ok := body.(event.KeyDeleted); ok {
				r.Key = key.Key
			}
			break
		}
		events = append(events, body)
	}
	r.Deleted = uint64(len(events))
	return events, r
}

// contents are the events by which everything in a namespace goes, of the keys those from one of them on, and the sessions
// last: nothing is bound to them then.
func contents(s State, from string) func(yield func(event.Body) bool) {
	return func(yield func(event.Body) bool) {
		for key, revision := range s.KeyRevisionsFrom(from) {
			if !yield(event.KeyDeleted{Key: key, Previous: revision}) {
				return
			}
		}
		for i := range s.Instances("") {
			if !yield(event.InstanceDeregistered{Service: i.Service, ID: i.ID, Previous: i.Revision}) {
				return
			}
		}
		for n := range s.Nodes() {
			if !yield(event.NodeDeleted{Node: n.Name, Previous: max(n.Revision, n.Maintenance.Revision)}) {
				return
			}
		}
		for service := range s.AllServiceSettings() {
			_, at := s.ServiceSettings(service)
			if !yield(event.ServiceConfigured{Service: service, Previous: at}) {
				return
			}
		}
		for session := range s.Sessions("") {
			if !yield(event.SessionEnded{ID: session.ID}) {
				return
			}
		}
	}
}

// Empty tells whether a namespace holds nothing.
func Empty(s State) bool {
	for range contents(s, "") {
		return false
	}
	return true
}

// decideReopen decides about a ledger that is there already.
func decideReopen(s State, ledger string, c OpenNamespace) (Decision, *Rejection) {
	life := s.Life()
	switch {
	case !life.Phase.Ended() && c.Again && life.Placed < c.Placed:
		return Decision{}, ending(ledger) // a snapshot may have seen _system's ledger later than this one
	case !life.Phase.Ended():
		return nothing(s.Head(), Result{}), nil
	case c.Placed <= life.Placed:
		return Decision{}, ended(ledger) // whoever asks has not heard yet
	case !Empty(s):
		return Decision{}, ending(ledger)
	}
	return one(event.NamespaceOpened{
		Namespace: c.Namespace, Cluster: c.Cluster, Placed: c.Placed, From: c.From, FromRevision: c.FromRevision, Closed: life.Since,
	}, Result{Created: true}), nil
}

func decideDeleteNamespace(s State, ledger string, c DeleteNamespace) (Decision, *Rejection) {
	if ledger != event.System {
		return Decision{}, reject(CodeInvalidNamespace, "namespaces are deleted in %q, not in %q", event.System, ledger)
	}
	if r := ValidateEnd(c.Namespace); r != nil {
		return Decision{}, r
	}
	n, exists := s.Namespace(c.Namespace)
	if exists && (c.Placed == n.Revision || c.Placed == whichever) {
		return one(event.NamespaceDeleted{
			Namespace: c.Namespace, Group: n.Group, Placed: n.Revision, Closed: c.Closed, Expired: c.Expired,
		}, Result{Group: n.Group}), nil
	}
	if gone, ok := s.Gone(c.Namespace); ok && c.Placed == gone.Placed {
		return nothing(gone.Revision, Result{Group: gone.Group}), nil
	}
	return Decision{}, ended(c.Namespace)
}

func decideFill(s State, ledger string, c FillNamespace) (Decision, *Rejection) {
	life := s.Life()
	switch {
	case c.Namespace != ledger || life.From == "" || life.Placed != c.Placed:
		return Decision{}, reject(CodeInvalidNamespace, "an order to fill %q came to the ledger of %q, which is not to be filled so", c.Namespace, ledger)
	case life.Phase != event.Filling:
		return nothing(s.Head(), Result{}), nil // somebody has filled it
	}
	var events []event.Body
	for _, e := range c.Entries {
		if _, exists := s.Key(e.Key); !exists {
			events = append(events, event.KeySet{Key: e.Key, Value: e.Value, ContentType: e.ContentType, Flags: e.Flags, Version: 1})
		}
	}
	put := uint64(len(events))
	if c.Done {
		events = append(events, event.NamespaceFilled{Namespace: ledger, From: life.From, FromRevision: life.FromRevision})
	}
	if len(events) == 0 {
		return nothing(s.Head(), Result{}), nil
	}
	return Decision{Events: events, Answer: Answer{Results: []Result{{Put: put}}}}, nil
}
