package commands

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rollcall/rollcall/log/event"
)

// Validate refuses what no state could make acceptable: names, sizes and shapes. Doors call it before they
// propose, to save a trip through Raft; Decide calls it again, because a replica trusts nobody.
//
// Names are checked where something is written, never where it is read or deleted, so that a rule that becomes
// stricter leaves nothing behind that cannot be removed.
func Validate(c Command) *Rejection {
	switch c := c.(type) {
	case PutKey:
		return validatePut(c)
	case DeleteKey:
		return validateConditions(c.If)
	case Txn:
		return validateTxn(c)
	case AppendKey:
		return validateAppend(c)
	case CreateSession:
		return validateSession(c)
	case Expire:
		return validateExpire(c)
	case PutTree:
		return validateTree(c)
	case RegisterInstance:
		return validateRegister(c)
	case ReportStatus:
		return validateReport(c)
	case SetInstanceMaintenance:
		return validateMaintenance(c.Reason)
	case SetNodeMaintenance:
		return validateNodeMaintenance(c)
	case PutNode:
		return validateNode(c)
	case ConfigureService:
		return validateService(c)
	case AddMember:
		return validateMember(c)
	case CreateNamespace:
		return validateNamespace(c.Namespace)
	case DeleteNamespace:
		return ValidateEnd(c.Namespace)
	case FillNamespace:
		return validateFill(c)
	case ConfigureNamespace:
		return validateConfigure(c)
	}
	return nil
}

func validatePut(c PutKey) *Rejection {
	key := c.Key
	if event.IsDirectory(key) && c.TTL != 0 {
		if r := validateDirectory(c); r != nil {
			return r
		}
		key = strings.TrimSuffix(key, "/")
	}
	if r := ValidateKey(key); r != nil {
		return r
	}
	if r := validateLease(c.Key, c.TTL, c.Session); r != nil {
		return r
	}
	if len(c.Value) > event.ValueBytesMax {
		return reject(CodeTooLarge, "the value of key %q has %d bytes; at most %d are kept", c.Key, len(c.Value), event.ValueBytesMax)
	}
	if len(c.ContentType) > event.ContentTypeBytesMax || !printable(c.ContentType) {
		return reject(CodeInvalidArgument, "content type %.40q: at most %d printable ASCII characters", c.ContentType, event.ContentTypeBytesMax)
	}
	return validateConditions(c.If)
}

// ValidateKey says what is wrong with a key that is to be written.
func ValidateKey(key string) *Rejection {
	switch {
	case key == "":
		return reject(CodeInvalidKey, "the key is empty")
	case len(key) > event.KeyBytesMax:
		return reject(CodeInvalidKey, "the key that begins with %.40q has %d bytes; at most %d", key, len(key), event.KeyBytesMax)
	case !utf8.ValidString(key):
		return reject(CodeInvalidKey, "key %q is not UTF-8", key)
	case strings.IndexByte(key, 0) >= 0:
		return reject(CodeInvalidKey, "key %q holds a NUL byte", key)
	case strings.Count(key, "/") >= event.KeySegmentsMax:
		return reject(CodeInvalidKey, "the key that begins with %.40q has %d segments; at most %d", key, strings.Count(key, "/")+1, event.KeySegmentsMax)
	case strings.HasSuffix(key, "/"):
		return reject(CodeInvalidKey, "key %q ends in a slash: that is the name of a directory, which has no value", key)
	}
	return nil
}

func validateConditions(conditions []Condition) *Rejection {
	if len(conditions) > event.TxnOperationsMax {
		return reject(CodeTooLarge, "%d conditions; at most %d", len(conditions), event.TxnOperationsMax)
	}
	for i, c := range conditions {
		if c.Field < FieldRevision || c.Field > FieldSession || c.Op > Greater {
			return reject(CodeInvalidTxn, "condition %d: field %d with comparison %d is not known to this version", i, c.Field, c.Op)
		}
		if c.Field == FieldSession && c.Op > NotEqual {
			return reject(CodeInvalidTxn, "condition %d: a session is equal to another or not, neither less nor greater", i)
		}
	}
	return nil
}

func validateTxn(c Txn) *Rejection {
	if r := validateConditions(c.If); r != nil {
		return r
	}
	size, asked := 0, 0
	for _, cond := range c.If {
		size += len(cond.Key) + len(cond.Value)
		if cond.Field == FieldEmpty {
			asked++
		}
	}
	for _, branch := range []struct {
		name       string
		operations []Operation
	}{{"then", c.Then}, {"else", c.Else}} {
		if len(branch.operations) > event.TxnOperationsMax {
			return reject(CodeTooLarge, "branch %q has %d operations; at most %d", branch.name, len(branch.operations), event.TxnOperationsMax)
		}
		written, prefixes := newWritten(), asked
		for i, op := range branch.operations {
			if r := validateOperation(op, written); r != nil {
				r.Message = fmt.Sprintf("%s[%d]: %s", branch.name, i, r.Message)
				return r
			}
			size += operationBytes(op)
			if op.Delete != nil && op.Delete.IsPrefix || op.Get != nil && op.Get.IsPrefix {
				prefixes++
			}
		}
		if prefixes > event.TxnPrefixesMax {
			return reject(CodeTooLarge, "the conditions and branch %q name %d prefixes; at most %d, because each is walked", branch.name, prefixes, event.TxnPrefixesMax)
		}
	}
	if size > event.TxnBytesMax {
		return reject(CodeTooLarge, "the transaction holds %d bytes of keys and values; at most %d", size, event.TxnBytesMax)
	}
	return nil
}

func validateOperation(op Operation, w *written) *Rejection {
	verbs := 0
	for _, set := range []bool{op.Put != nil, op.Delete != nil, op.Get != nil, op.Register != nil, op.Deregister != nil} {
		if set {
			verbs++
		}
	}
	if verbs != 1 {
		return reject(CodeInvalidTxn, "an operation has exactly one verb of put, delete, get, register, deregister; this one has %d", verbs)
	}
	switch {
	case op.Put != nil:
		if len(op.Put.If) > 0 {
			return reject(CodeInvalidTxn, "conditions of a transaction stand in its if, not in a put")
		}
		if r := validatePut(*op.Put); r != nil {
			return r
		}
		return w.key(op.Put.Key)
	case op.Delete != nil && op.Delete.IsPrefix:
		return w.prefix(op.Delete.Prefix)
	case op.Delete != nil:
		return w.key(op.Delete.Key)
	case op.Register != nil:
		if r := validateRegister(*op.Register); r != nil {
			return r
		}
		return w.instance(op.Register.Instance.Service, op.Register.Instance.ID)
	case op.Deregister != nil:
		return w.instance(op.Deregister.Service, op.Deregister.ID)
	}
	return nil
}

func operationBytes(op Operation) int {
	switch {
	case op.Put != nil:
		return len(op.Put.Key) + len(op.Put.Value)
	case op.Delete != nil:
		return len(op.Delete.Key) + len(op.Delete.Prefix)
	case op.Get != nil:
		return len(op.Get.Key) + len(op.Get.Prefix)
	case op.Register != nil:
		return instanceBytes(op.Register.Instance) + credentialBytes(op.Register.Credentials)
	case op.Deregister != nil:
		return len(op.Deregister.Service) + len(op.Deregister.ID)
	}
	return 0
}

func instanceBytes(i event.Instance) int {
	size := len(i.Service) + len(i.ID) + len(i.Node) + len(i.Address) + len(i.Protocol) + len(i.Version)
	for _, tag := range i.Tags {
		size += len(tag)
	}
	for k, v := range i.Meta {
		size += len(k) + len(v)
	}
	for _, c := range i.Checks {
		size += c.Bytes()
	}
	return size
}

// written is what a branch has written so far. One branch may write a thing once, as in etcd: a commit leaves one
// state of each row, so a second write would only hide the first.
type written struct {
	keys      map[string]struct{}
	prefixes  []string
	instances map[[2]string]struct{}
}

func newWritten() *written {
	return &written{keys: map[string]struct{}{}, instances: map[[2]string]struct{}{}}
}

func (w *written) key(key string) *Rejection {
	_, twice := w.keys[key]
	if twice || slices.ContainsFunc(w.prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
		return reject(CodeInvalidTxn, "key %q is written twice in one branch", key)
	}
	w.keys[key] = struct{}{}
	return nil
}

func (w *written) prefix(prefix string) *Rejection {
	for _, p := range w.prefixes {
		if strings.HasPrefix(p, prefix) || strings.HasPrefix(prefix, p) {
			return reject(CodeInvalidTxn, "prefixes %q and %q, both deleted in one branch, overlap", p, prefix)
		}
	}
	overlap := ""
	for key := range w.keys { // which of several overlaps is named must not depend on map order: the least
		if strings.HasPrefix(key, prefix) && (overlap == "" || key < overlap) {
			overlap = key
		}
	}
	if overlap != "" {
		return reject(CodeInvalidTxn, "key %q is written twice in one branch: the delete of prefix %q covers it", overlap, prefix)
	}
	w.prefixes = append(w.prefixes, prefix)
	return nil
}

func (w *written) instance(service, id string) *Rejection {
	at := [2]string{service, id}
	if _, twice := w.instances[at]; twice {
		return reject(CodeInvalidTxn, "instance %q of service %q is written twice in one branch", id, service)
	}
	w.instances[at] = struct{}{}
	return nil
}

func validateRegister(c RegisterInstance) *Rejection {
	if r := validateInstance(c.Instance); r != nil {
		return r
	}
	if r := validateChecks(c.Instance); r != nil {
		return r
	}
	return validateCredentials(c.Instance, c.Credentials)
}

func validateInstance(i event.Instance) *Rejection {
	for _, f := range []struct {
		field, value string
		required     bool
	}{
		{"service", i.Service, true},
		{"id", i.ID, true},
		{"address", i.Address, true},
		{"node", i.Node, false},
		{"protocol", i.Protocol, false},
		{"version", i.Version, false},
	} {
		switch {
		case f.required && f.value == "":
			return reject(CodeInvalidInstance, "instance %q of service %q has no %s", i.ID, i.Service, f.field)
		case !isName(f.value):
			return reject(CodeInvalidInstance, "%s %.40q: at most %d bytes of UTF-8 without control characters", f.field, f.value, event.NameBytesMax)
		}
	}
	if !isAddress(i.Address) {
		return reject(CodeInvalidInstance, "address %q is neither an IP address nor a host name", i.Address)
	}
	if i.TTL != 0 {
		if i.Session != "" {
			return reject(CodeInvalidInstance, "instance %q has both a TTL and a session: it ends with one of them", i.ID)
		}
		if r := validateTTL(i.TTL); r != nil {
			return r
		}
	}
	return validateTagsAndMeta(i)
}

func validateTagsAndMeta(i event.Instance) *Rejection {
	if len(i.Tags) > event.TagsMax || len(i.Meta) > event.MetaEntriesMax {
		return reject(CodeTooLarge, "instance %q has %d tags and %d meta entries; at most %d and %d", i.ID, len(i.Tags), len(i.Meta), event.TagsMax, event.MetaEntriesMax)
	}
	for n, tag := range i.Tags {
		if tag == "" || !isName(tag) {
			return reject(CodeInvalidInstance, "tag %.40q: 1 to %d bytes of UTF-8 without control characters", tag, event.NameBytesMax)
		}
		if n > 0 && i.Tags[n-1] >= tag {
			return reject(CodeInvalidInstance, "tags are to be sorted and without repeats; %q comes after %q", tag, i.Tags[n-1])
		}
	}
	if r := validateMeta(i.Meta); r != nil {
		return reject(r.Code, "instance %q%s", i.ID, r.Message)
	}
	return nil
}

func validateMeta(meta map[string]string) *Rejection {
	size := 0
	bad := false
	for k, v := range meta {
		size += len(k) + len(v)
		bad = bad || k == "" || !utf8.ValidString(k) || !utf8.ValidString(v)
	}
	switch {
	case len(meta) > event.MetaEntriesMax:
		return reject(CodeTooLarge, " has %d meta entries; at most %d", len(meta), event.MetaEntriesMax)
	case bad:
		return reject(CodeInvalidInstance, ": a meta name is empty, or a meta entry is not UTF-8")
	case size > event.MetaBytesMax:
		return reject(CodeTooLarge, " has %d bytes of meta; at most %d", size, event.MetaBytesMax)
	}
	return nil
}

func validateNamespace(name string) *Rejection {
	if name == event.System || slices.Contains(event.ReservedNamespaces, name) || strings.HasPrefix(name, "at-") {
		return reject(CodeInvalidNamespace, "%q is reserved and cannot name a namespace", name)
	}
	if !event.IsNamespaceName(name) {
		return reject(CodeInvalidNamespace, "namespace %.80q: 1 to %d lower-case letters, digits and hyphens, not first or last a hyphen", name, event.NamespaceBytesMax)
	}
	return nil
}

func isName(s string) bool {
	return len(s) <= event.NameBytesMax && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func isAddress(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	s = strings.TrimSuffix(s, ".")
	for label := range strings.SplitSeq(s, ".") {
		if !event.IsDNSLabel(label) {
			return false
		}
	}
	// All digits and dots is an IPv4 address gone wrong, not a name (RFC 3696 section 2).
	return strings.Trim(s, "0123456789.") != ""
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
