package commands

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rollcall/rollcall/log/event"
)

// How an instance is, is found outside: by the servers that look at it, by itself, or by whoever takes it out of use.
// Decisions only see to it that what is said is about what is registered, and that nothing is said twice.

// ReportStatus says how a check of an instance turned out. Saying what is known is no event.
type ReportStatus struct {
	Service string       `cbor:"1,keyasint"`
	ID      string       `cbor:"2,keyasint"`
	Check   string       `cbor:"3,keyasint"`
	Status  event.Status `cbor:"4,keyasint"`
	// Previous is the revision that made the check what the reporter believes it to be: where something has changed it
	// since, the report is rejected with CodeConditionFailed. Zero asks for nothing.
	Previous event.Revision `cbor:"5,keyasint,omitempty"`
	// Server is the one that looked. It is empty for TTL checks, and only for those.
	Server string `cbor:"6,keyasint,omitempty"`
}

// SetInstanceMaintenance takes an instance out of use, or lets it be used again.
type SetInstanceMaintenance struct {
	Service string `cbor:"1,keyasint"`
	ID      string `cbor:"2,keyasint"`
	Enabled bool   `cbor:"3,keyasint,omitempty"`
	Reason  string `cbor:"4,keyasint,omitempty"`
}

// SetNodeMaintenance takes every instance that says that it runs on a node out of use, or lets them be used again. The
// node need not be known.
type SetNodeMaintenance struct {
	Node    string `cbor:"1,keyasint"`
	Enabled bool   `cbor:"2,keyasint,omitempty"`
	Reason  string `cbor:"3,keyasint,omitempty"`
}

// PutNode says what is known of a node. Saying the same again is no event.
type PutNode struct {
	Node    string            `cbor:"1,keyasint"`
	Address string            `cbor:"2,keyasint"`
	Meta    map[string]string `cbor:"3,keyasint,omitempty"`
}

// DeleteNode forgets a node, and its maintenance. Instances that say they run on it stay.
type DeleteNode struct {
	Node string `cbor:"1,keyasint"`
}

// ConfigureService says what holds for a service as a whole. Asking for what holds is no event.
type ConfigureService struct {
	Service string     `cbor:"1,keyasint"`
	DNSTTL  event.Time `cbor:"2,keyasint,omitempty"`
	// OnlyPassing keeps an instance that is in warning out of use.
	OnlyPassing bool `cbor:"3,keyasint,omitempty"`
}

// Credentials are what whoever uses an instance needs to know in secret.
type Credentials struct {
	Values map[string]string `cbor:"1,keyasint,omitempty"`
}

func (ReportStatus) command()           {}
func (SetInstanceMaintenance) command() {}
func (SetNodeMaintenance) command()     {}
func (PutNode) command()                {}
func (DeleteNode) command()             {}
func (ConfigureService) command()       {}

func (ReportStatus) since() uint32           { return VersionHealth }
func (SetInstanceMaintenance) since() uint32 { return VersionHealth }
func (SetNodeMaintenance) since() uint32     { return VersionHealth }
func (PutNode) since() uint32                { return VersionHealth }
func (DeleteNode) since() uint32             { return VersionHealth }
func (ConfigureService) since() uint32       { return VersionHealth }

func decideReport(s State, c ReportStatus) (Decision, *Rejection) {
	i, exists := s.Instance(c.Service, c.ID)
	if !exists {
		return Decision{}, reject(CodeNotFound, "service %q has no instance %q", c.Service, c.ID)
	}
	check, exists := i.Check(c.Check)
	if !exists {
		return Decision{}, reject(CodeNotFound, "instance %q of service %q has no check %q", c.ID, c.Service, c.Check)
	}
	switch {
	case check.TTL == 0 && c.Server == "":
		return Decision{}, reject(CodeInvalidArgument, "check %q of instance %q is looked at by the servers; only a TTL check is reported", c.Check, c.ID)
	case check.TTL != 0 && c.Server != "":
		return Decision{}, reject(CodeInvalidArgument, "check %q of instance %q is reported by itself; server %q has nothing to look at", c.Check, c.ID, c.Server)
	}
	state, _ := s.Health(c.Service, c.ID).Check(c.Check)
	switch {
	case c.Previous != 0 && c.Previous != state.Revision:
		r := reject(CodeConditionFailed, "check %q of instance %q is %s since revision %d, not since %d", c.Check, c.ID, state.Status, state.Revision, c.Previous)
		r.Revision = state.Revision
		return Decision{}, r
	case c.Status == state.Status:
		return nothing(state.Revision, Result{}), nil
	}
	return one(event.InstanceStatus{
		Service: c.Service, ID: c.ID, Check: c.Check, Status: c.Status, Was: state.Status, Previous: state.Revision, Server: c.Server,
	}, Result{}), nil
}

func decideInstanceMaintenance(s State, c SetInstanceMaintenance) (Decision, *Rejection) {
	if _, exists := s.Instance(c.Service, c.ID); !exists {
		return Decision{}, reject(CodeNotFound, "service %q has no instance %q", c.Service, c.ID)
	}
	if now := s.Health(c.Service, c.ID).Maintenance; inMaintenance(now, c.Enabled, c.Reason) {
		return nothing(revisionOr(now.Revision, s), Result{}), nil
	}
	return one(event.InstanceMaintenance(c), Result{}), nil
}

func decideNodeMaintenance(s State, c SetNodeMaintenance) (Decision, *Rejection) {
	n, _ := s.Node(c.Node)
	if inMaintenance(n.Maintenance, c.Enabled, c.Reason) {
		return nothing(revisionOr(n.Maintenance.Revision, s), Result{}), nil
	}
	return one(event.NodeMaintenance(c), Result{}), nil
}

// inMaintenance tells whether nothing would change: a new reason is news only of what is out of use. What was not out of use
// cannot be put back, so no event speaks of a node whose name nobody has looked at.
func inMaintenance(now event.MaintenanceState, enabled bool, reason string) bool {
	return now.Enabled == enabled && (now.Reason == reason || !enabled)
}

// revisionOr is a revision, or the last one where there is none.
func revisionOr(r event.Revision, s State) event.Revision {
	if r == 0 {
		return s.Head()
	}
	return r
}

func decidePutNode(s State, c PutNode) (Decision, *Rejection) {
	now, _ := s.Node(c.Node)
	known := now.Revision != 0 // it may be known by its maintenance only
	e := event.NodeSet{Node: c.Node, Address: c.Address, Meta: c.Meta, CreateRevision: now.CreateRevision, Previous: now.Revision}
	if known && now.Same(e) {
		return nothing(now.Revision, Result{}), nil
	}
	return one(e, Result{Created: !known}), nil
}

func decideDeleteNode(s State, c DeleteNode) (Decision, *Rejection) {
	now, exists := s.Node(c.Node)
	if now.Revision == 0 && (!exists || now.Maintenance.Kind == event.KindNodeDeleted) {
		return Decision{}, reject(CodeNotFound, "node %q is not known", c.Node)
	}
	return one(event.NodeDeleted{Node: c.Node, Previous: max(now.Revision, now.Maintenance.Revision)}, Result{Deleted: 1}), nil
}

func decideConfigureService(s State, c ConfigureService) (Decision, *Rejection) {
	now, at := s.ServiceSettings(c.Service)
	wish := event.ServiceConfigured{Service: c.Service, DNSTTL: c.DNSTTL, OnlyPassing: c.OnlyPassing, Previous: at}
	if wish.Settings() == now {
		return nothing(revisionOr(at, s), Result{}), nil
	}
	return one(wish, Result{Created: at == 0}), nil
}

// validateChecks says what is wrong with the checks of an instance. Whether anybody answers at a URL or an address is for
// those to find who look at it; here it only has the form of one.
func validateChecks(i event.Instance) *Rejection {
	if len(i.Checks) > event.ChecksMax {
		return reject(CodeTooLarge, "instance %q has %d checks; at most %d", i.ID, len(i.Checks), event.ChecksMax)
	}
	size := 0
	for n, c := range i.Checks {
		if r := validateCheck(c); r != nil {
			return r
		}
		if c.ID == "" || !isName(c.ID) {
			return invalidCheck(c, "its id has 1 to %d bytes of UTF-8 without control characters", event.NameBytesMax)
		}
		for _, other := range i.Checks[:n] {
			if other.ID == c.ID {
				return invalidCheck(c, "there are two of that id")
			}
		}
		size += c.Bytes()
	}
	if size > event.CheckBytesMax {
		return reject(CodeTooLarge, "the checks of instance %q come to %d bytes; at most %d", i.ID, size, event.CheckBytesMax)
	}
	return nil
}

func validateCheck(c event.Check) *Rejection {
	kinds := 0
	for _, set := range []bool{c.HTTP != nil, c.TCP != nil, c.GRPC != nil, c.TTL != 0, len(c.Command) > 0, c.Alias != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return invalidCheck(c, "it is exactly one of http, tcp, grpc, ttl, command and alias; this one is %d", kinds)
	case c.Initial > event.Critical:
		return invalidCheck(c, "it begins as passing, warning or critical")
	case c.SuccessThreshold > event.CheckThresholdMax || c.FailureThreshold > event.CheckThresholdMax:
		return invalidCheck(c, "thresholds of %d and %d results; at most %d", c.SuccessThreshold, c.FailureThreshold, event.CheckThresholdMax)
	case c.DeregisterAfter != 0 && (c.DeregisterAfter < event.DeregisterAfterMin || c.DeregisterAfter > event.TTLMax):
		return invalidCheck(c, "deregister_after of %s: from %s to %s", seconds(c.DeregisterAfter), seconds(event.DeregisterAfterMin), seconds(event.TTLMax))
	case c.TTL != 0 && (c.Interval != 0 || c.Timeout != 0 || c.SuccessThreshold != 0 || c.FailureThreshold != 0):
		return invalidCheck(c, "a TTL check has neither interval, timeout nor thresholds: nobody looks at it")
	case c.TTL != 0:
		return validateTTL(c.TTL)
	case c.Interval < event.CheckIntervalMin || c.Interval > event.CheckIntervalMax:
		return invalidCheck(c, "an interval of %s: from %s to %s", seconds(c.Interval), seconds(event.CheckIntervalMin), seconds(event.CheckIntervalMax))
	case c.Alias == nil && (c.Timeout < event.CheckTimeoutMin || c.Timeout > event.CheckTimeoutMax):
		return invalidCheck(c, "a timeout of %s: from %s to %s", seconds(c.Timeout), seconds(event.CheckTimeoutMin), seconds(event.CheckTimeoutMax))
	}
	return validateTarget(c)
}

func validateTarget(c event.Check) *Rejection {
	switch {
	case c.HTTP != nil:
		h := c.HTTP
		rest, ok := strings.CutPrefix(h.URL, "https://")
		if !ok {
			rest, ok = strings.CutPrefix(h.URL, "http://")
		}
		if !ok || rest == "" || strings.HasPrefix(rest, "/") || !printable(h.URL) || strings.Contains(h.URL, " ") {
			return invalidCheck(c, "URL %.80q: it begins with http:// or https:// and a host, and has no blanks", h.URL)
		}
		if !isToken(h.Method) && h.Method != "" {
			return invalidCheck(c, "method %.20q is none of HTTP", h.Method)
		}
		if h.Status != 0 && (h.Status < 200 || h.Status > 599) {
			return invalidCheck(c, "status %d: from 200 to 599", h.Status)
		}
		bad := ""
		for name, value := range h.Headers {
			if (!isToken(name) || strings.ContainsAny(value, "\r\n\x00")) && (bad == "" || name < bad) {
				bad = name
			}
		}
		if bad != "" {
			return invalidCheck(c, "header %.40q: a name is a word of letters, digits and hyphens, and a value one line", bad)
		}
		return validText(c, h.Body)
	case c.TCP != nil:
		return validateTargetAddress(c, c.TCP.Address)
	case c.GRPC != nil:
		if r := validateTargetAddress(c, c.GRPC.Address); r != nil {
			return r
		}
		return validText(c, c.GRPC.Service)
	case c.Alias != nil:
		if c.Alias.Service == "" || !isName(c.Alias.Service) || !isName(c.Alias.ID) {
			return invalidCheck(c, "an alias names a service, and an instance of it or none")
		}
	}
	for n, word := range c.Command {
		if n == 0 && word == "" || strings.IndexByte(word, 0) >= 0 || !utf8.ValidString(word) {
			return invalidCheck(c, "a command is a program and its arguments, in UTF-8 and without NUL")
		}
	}
	return nil
}

// validateTargetAddress wants HOST:PORT, where an IPv6 address stands in brackets.
func validateTargetAddress(c event.Check, address string) *Rejection {
	at := strings.LastIndexByte(address, ':')
	if at < 0 || !isPort(address[at+1:]) || !isHost(address[:at]) {
		return invalidCheck(c, "address %.80q: HOST:PORT, such as 10.0.0.1:8080 or [fd00::1]:8080", address)
	}
	return nil
}

func isHost(s string) bool {
	if v6, ok := strings.CutPrefix(s, "["); ok {
		v6, ok = strings.CutSuffix(v6, "]")
		return ok && strings.Contains(v6, ":") && isAddress(v6)
	}
	return !strings.Contains(s, ":") && isAddress(s) && len(s) <= event.NameBytesMax
}

func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i > 4 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n > 0 && n <= 65535
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func validText(c event.Check, s string) *Rejection {
	if !utf8.ValidString(s) {
		return invalidCheck(c, "%.40q is not UTF-8", s)
	}
	return nil
}

func invalidCheck(c event.Check, format string, args ...any) *Rejection {
	r := reject(CodeInvalidCheck, format, args...)
	r.Message = fmt.Sprintf("check %.80q: %s", c.ID, r.Message)
	return r
}

func validateReport(c ReportStatus) *Rejection {
	if c.Status < event.Passing || c.Status > event.Critical {
		return reject(CodeInvalidArgument, "a check is passing, warning or critical")
	}
	return nil
}

func validateMaintenance(reason string) *Rejection {
	if len(reason) > event.ReasonBytesMax || !utf8.ValidString(reason) {
		return reject(CodeInvalidArgument, "a reason of %d bytes: at most %d of UTF-8", len(reason), event.ReasonBytesMax)
	}
	return nil
}

func validateNodeMaintenance(c SetNodeMaintenance) *Rejection {
	if c.Enabled && (c.Node == "" || !isName(c.Node)) {
		return reject(CodeInvalidNode, "node %.40q: 1 to %d bytes of UTF-8 without control characters", c.Node, event.NameBytesMax)
	}
	return validateMaintenance(c.Reason)
}

func validateNode(c PutNode) *Rejection {
	switch {
	case c.Node == "" || !isName(c.Node):
		return reject(CodeInvalidNode, "node %.40q: 1 to %d bytes of UTF-8 without control characters", c.Node, event.NameBytesMax)
	case c.Address == "" || !isName(c.Address) || !isAddress(c.Address):
		return reject(CodeInvalidNode, "node %q: address %.80q is neither an IP address nor a host name", c.Node, c.Address)
	}
	if r := validateMeta(c.Meta); r != nil {
		if r.Code == CodeInvalidInstance {
			r.Code = CodeInvalidNode
		}
		return reject(r.Code, "node %q%s", c.Node, r.Message)
	}
	return nil
}

func validateService(c ConfigureService) *Rejection {
	if c.Service == "" || !isName(c.Service) {
		return reject(CodeInvalidArgument, "service %.40q: 1 to %d bytes of UTF-8 without control characters", c.Service, event.NameBytesMax)
	}
	if c.DNSTTL < 0 || c.DNSTTL > event.DNSTTLMax || c.DNSTTL%1e9 != 0 {
		return reject(CodeInvalidTTL, "a DNS TTL of %s: whole seconds, at most %s", seconds(c.DNSTTL), seconds(event.DNSTTLMax))
	}
	return nil
}

func credentialBytes(c *Credentials) (size int) {
	if c != nil {
		for name, value := range c.Values {
			size += len(name) + len(value)
		}
	}
	return size
}

func validateCredentials(i event.Instance, c *Credentials) *Rejection {
	if c == nil {
		return nil
	}
	size, bad := credentialBytes(c), false
	for name, value := range c.Values {
		bad = bad || name == "" || !isName(name) || !utf8.ValidString(value)
	}
	switch {
	case len(c.Values) > event.CredentialsMax || size > event.CredentialsBytesMax:
		return reject(CodeTooLarge, "instance %q has %d credentials of %d bytes; at most %d and %d", i.ID, len(c.Values), size, event.CredentialsMax, event.CredentialsBytesMax)
	case bad:
		return reject(CodeInvalidInstance, "instance %q: the name of a credential is empty or too long, or one is not UTF-8", i.ID)
	}
	return nil
}
