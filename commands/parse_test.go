package commands_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/log/event"
)

// parseCommand reads a directive: its words are the arguments, its input lines are a transaction's parts.
func parseCommand(t *testing.T, d *datadriven.TestData) commands.Command {
	t.Helper()
	op := parseOperation(t, d.Cmd, d.CmdArgs)
	switch d.Cmd {
	case "put":
		put := *op.Put
		put.If = parseConditions(t, put.Key, d.CmdArgs)
		return put
	case "delete":
		if op.Delete.IsPrefix {
			return commands.DeletePrefix{Prefix: op.Delete.Prefix}
		}
		return commands.DeleteKey{Key: op.Delete.Key, If: parseConditions(t, op.Delete.Key, d.CmdArgs)}
	case "register":
		return *op.Register
	case "report":
		server, _ := value(d.CmdArgs, "server")
		return commands.ReportStatus{
			Service: argument(d.CmdArgs, 0), ID: argument(d.CmdArgs, 1), Check: argument(d.CmdArgs, 2), Status: status(argument(d.CmdArgs, 3)),
			Previous: event.Revision(number(t, d.CmdArgs, "previous")), Server: server,
		}
	case "maintain":
		reason, _ := value(d.CmdArgs, "reason")
		return commands.SetInstanceMaintenance{Service: argument(d.CmdArgs, 0), ID: argument(d.CmdArgs, 1), Enabled: argument(d.CmdArgs, 2) == "on", Reason: reason}
	case "maintain-node":
		reason, _ := value(d.CmdArgs, "reason")
		return commands.SetNodeMaintenance{Node: argument(d.CmdArgs, 0), Enabled: argument(d.CmdArgs, 1) == "on", Reason: reason}
	case "put-node":
		return commands.PutNode{Node: argument(d.CmdArgs, 0), Address: argument(d.CmdArgs, 1), Meta: pairs(d.CmdArgs, "meta")}
	case "delete-node":
		return commands.DeleteNode{Node: argument(d.CmdArgs, 0)}
	case "configure-service":
		return commands.ConfigureService{Service: argument(d.CmdArgs, 0), DNSTTL: duration(t, d.CmdArgs, "ttl"), OnlyPassing: d.HasArg("only-passing")}
	case "deregister":
		return *op.Deregister
	case "open":
		from, _ := value(d.CmdArgs, "from")
		return commands.OpenNamespace{
			Namespace: d.CmdArgs[0].Key, Cluster: "c1", Groups: number(t, d.CmdArgs, "groups"), Skip: event.Revision(number(t, d.CmdArgs, "skip")),
			Placed: event.Revision(number(t, d.CmdArgs, "placed")), Again: d.HasArg("again"),
			From: from, FromRevision: event.Revision(number(t, d.CmdArgs, "from-revision")),
		}
	case "close":
		return commands.CloseNamespace{Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed"))}
	case "clear":
		from, _ := value(d.CmdArgs, "from")
		return commands.ClearNamespace{Namespace: argument(d.CmdArgs, 0), From: from}
	case "delete-namespace":
		return commands.DeleteNamespace{
			Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed")),
			Closed: event.Revision(number(t, d.CmdArgs, "closed")), Expired: d.HasArg("expired"),
		}
	case "fill":
		return parseFill(t, d)
	case "restore":
		cluster, _ := value(d.CmdArgs, "cluster")
		return commands.RestoreNamespace{
			Namespace: d.CmdArgs[0].Key, Cluster: cluster, Skip: event.Revision(number(t, d.CmdArgs, "skip")),
			FromCluster: "c1", Taken: 7, Snapshot: []byte{0xab},
		}
	case "create":
		from, _ := value(d.CmdArgs, "from")
		return commands.CreateNamespace{
			Namespace: argument(d.CmdArgs, 0), Group: number(t, d.CmdArgs, "group"),
			From: from, FromRevision: event.Revision(number(t, d.CmdArgs, "from-revision")),
		}
	case "txn":
		return parseTxn(t, d.Input)
	case "append":
		session, _ := value(d.CmdArgs, "session")
		return commands.AppendKey{Directory: argument(d.CmdArgs, 0), Value: []byte(argument(d.CmdArgs, 1)), TTL: duration(t, d.CmdArgs, "ttl"), Session: session}
	case "create-session":
		onEnd := event.Release
		if d.HasArg("deletes") {
			onEnd = event.Delete
		}
		return commands.CreateSession{TTL: duration(t, d.CmdArgs, "ttl"), OnEnd: onEnd, LockDelay: duration(t, d.CmdArgs, "delay")}
	case "end-session":
		return commands.EndSession{ID: argument(d.CmdArgs, 0)}
	case "claim":
		return commands.ClaimTimekeeper{Server: argument(d.CmdArgs, 0)}
	case "expire":
		return parseExpire(t, d.CmdArgs)
	case "tree":
		return parseTree(t, d)
	case "add-member":
		nonce, _ := value(d.CmdArgs, "nonce")
		_, voter := value(d.CmdArgs, "voter")
		_, replace := value(d.CmdArgs, "replace")
		return commands.AddMember{
			Name: argument(d.CmdArgs, 0), Address: argument(d.CmdArgs, 1), Nonce: nonce, Voter: voter, Replace: replace,
			Replica: number(t, d.CmdArgs, "replica"), Version: uint32(number(t, d.CmdArgs, "knows")),
		}
	case "promote-member":
		return commands.PromoteMember{Name: argument(d.CmdArgs, 0)}
	case "announce-version":
		return commands.AnnounceVersion{
			Name: argument(d.CmdArgs, 0), Replica: number(t, d.CmdArgs, "replica"), Version: uint32(number(t, d.CmdArgs, "knows")),
		}
	case "set-version":
		return commands.SetClusterVersion{Version: uint32(number(t, d.CmdArgs, "to"))}
	case "configure":
		return configure(t, d.CmdArgs)
	case "apply":
		c := configure(t, d.CmdArgs)
		at := func(n *uint64) uint64 {
			if n == nil {
				return 0
			}
			return *n
		}
		return commands.ApplySettings{
			Namespace: c.Namespace, Keys: at(c.Keys), Bytes: at(c.Bytes), Revisions: at(c.Revisions),
			Configured: event.Revision(number(t, d.CmdArgs, "configured")), TTL: duration(t, d.CmdArgs, "ttl"),
		}
	case "trim":
		return commands.TrimHistory{To: event.Revision(number(t, d.CmdArgs, "to"))}
	case "remove-member":
		return commands.RemoveMember{Name: argument(d.CmdArgs, 0)}
	}
	d.Fatalf(t, "unknown directive %q", d.Cmd)
	return nil
}

// parseExpire reads "epoch=E", then leases: "session=ID" and "key@R".
func parseExpire(t *testing.T, args []datadriven.CmdArg) commands.Expire {
	t.Helper()
	c := commands.Expire{Epoch: event.Revision(number(t, args, "epoch"))}
	for _, a := range args {
		if a.Key == "session" {
			c.Leases = append(c.Leases, commands.Lease{Session: a.Vals[0]})
		}
		if key, revision, ok := strings.Cut(a.Key, "@"); ok {
			n, err := strconv.ParseUint(revision, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if names, ok := strings.CutPrefix(key, "due:"); ok { // service:id:check
				names := strings.SplitN(names, ":", 3)
				c.Leases = append(c.Leases, commands.Lease{Service: names[0], ID: names[1], Check: names[2], Revision: event.Revision(n), After: event.TTLMax})
				continue
			}
			lease := commands.Lease{Key: key, Revision: event.Revision(n)}
			if key == "whole-namespace" {
				lease = commands.Lease{Namespace: true, Revision: lease.Revision}
			}
			c.Leases = append(c.Leases, lease)
		}
	}
	return c
}

// parseFill reads "placed=R", perhaps "done", and a key and its value on each line.
func parseFill(t *testing.T, d *datadriven.TestData) commands.FillNamespace {
	t.Helper()
	c := commands.FillNamespace{Namespace: argument(d.CmdArgs, 0), Placed: event.Revision(number(t, d.CmdArgs, "placed")), Done: d.HasArg("done")}
	for line := range strings.Lines(d.Input) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.Entries = append(c.Entries, commands.FillEntry{Key: key, Value: []byte(value)})
	}
	return c
}

func configure(t *testing.T, args []datadriven.CmdArg) commands.ConfigureNamespace {
	t.Helper()
	optional := func(name string) *uint64 {
		if _, ok := value(args, name); !ok {
			return nil
		}
		n := number(t, args, name)
		return &n
	}
	c := commands.ConfigureNamespace{
		Namespace: argument(args, 0), Group: number(t, args, "group"),
		Keys: optional("keys"), Bytes: optional("bytes"), Revisions: optional("revisions"),
	}
	if age, ok := value(args, "age"); ok {
		d, err := time.ParseDuration(age)
		if err != nil {
			t.Fatal(err)
		}
		at := event.Time(d)
		c.Age = &at
	}
	if _, ok := value(args, "ttl"); ok {
		ttl := duration(t, args, "ttl")
		c.TTL = &ttl
	}
	c.From, _ = value(args, "from")
	c.FromRevision = event.Revision(number(t, args, "from-revision"))
	return c
}

func duration(t *testing.T, args []datadriven.CmdArg, name string) event.Time {
	t.Helper()
	s, ok := value(args, name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return event.Time(d)
}

// parseTxn reads lines such as "if exists a", "then put a v", "else get prefix=a".
func parseTxn(t *testing.T, input string) commands.Txn {
	t.Helper()
	var c commands.Txn
	for line := range strings.Lines(input) {
		verb, args, err := datadriven.ParseLine(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		switch verb {
		case "if":
			c.If = append(c.If, parseConditions(t, args[0].Key, args[1:])...)
		case "then":
			c.Then = append(c.Then, parseOperation(t, args[0].Key, args[1:]))
		case "else":
			c.Else = append(c.Else, parseOperation(t, args[0].Key, args[1:]))
		}
	}
	return c
}

func parseOperation(t *testing.T, verb string, args []datadriven.CmdArg) commands.Operation {
	t.Helper()
	target := &commands.Target{Key: argument(args, 0)}
	if p, ok := value(args, "prefix"); ok {
		target = &commands.Target{Prefix: p, IsPrefix: true}
	}
	switch verb {
	case "put":
		v := argument(args, 1)
		if n := number(t, args, "size"); n > 0 {
			v = strings.Repeat("x", int(n))
		}
		contentType, _ := value(args, "type")
		session, _ := value(args, "session")
		return commands.Operation{Put: &commands.PutKey{
			Key: argument(args, 0), Value: []byte(v), Flags: number(t, args, "flags"), ContentType: contentType, TTL: duration(t, args, "ttl"), Session: session,
		}}
	case "delete":
		return commands.Operation{Delete: target}
	case "get":
		return commands.Operation{Get: target}
	case "register":
		address, _ := value(args, "address")
		session, _ := value(args, "session")
		node, _ := value(args, "node")
		var credentials *commands.Credentials
		if _, given := value(args, "credentials"); given {
			credentials = &commands.Credentials{Values: pairs(args, "credentials")}
		}
		var tags []string
		if s, ok := value(args, "tags"); ok {
			tags = strings.Split(s, "+")
		}
		return commands.Operation{Register: &commands.RegisterInstance{Instance: event.Instance{
			Service: argument(args, 0), ID: argument(args, 1), Address: address, Port: uint16(number(t, args, "port")),
			Tags: tags, Weight: uint16(number(t, args, "weight")), Session: session, Node: node, TTL: duration(t, args, "ttl"), Checks: parseChecks(t, args),
		}, Credentials: credentials}}
	case "deregister":
		return commands.Operation{Deregister: &commands.DeregisterInstance{Service: argument(args, 0), ID: argument(args, 1)}}
	}
	return commands.Operation{}
}

// parseChecks reads checks=(id|kind|target|option=value…,…).
func parseChecks(t *testing.T, args []datadriven.CmdArg) (all []event.Check) {
	t.Helper()
	length := func(s string) event.Time {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return event.Time(d)
	}
	for _, a := range args {
		if a.Key != "checks" {
			continue
		}
		for _, text := range a.Vals {
			words := strings.Split(text, "|")
			c := event.Check{ID: words[0], Interval: 10e9, Timeout: 5e9}
			switch target := words[2]; words[1] {
			case "ttl":
				c.TTL, c.Interval, c.Timeout = length(target), 0, 0
			case "tcp":
				c.TCP = &event.TCPCheck{Address: target}
			case "http":
				c.HTTP = &event.HTTPCheck{URL: target}
			case "grpc":
				c.GRPC = &event.GRPCCheck{Address: target}
			case "command":
				c.Command = strings.Split(target, "+")
			case "alias":
				c.Alias = &event.AliasTarget{Service: target}
			}
			for _, option := range words[3:] {
				switch name, v, _ := strings.Cut(option, "="); name {
				case "deregister":
					c.DeregisterAfter = length(v)
				case "initial":
					c.Initial = status(v)
				case "interval":
					c.Interval = length(v)
				case "timeout":
					c.Timeout = length(v)
				case "method":
					c.HTTP.Method = v
				case "header":
					c.HTTP.Headers = map[string]string{v: "x"}
				case "status":
					n, _ := strconv.ParseUint(v, 10, 16)
					c.HTTP.Status = uint16(n)
				case "tcp": // a second kind
					c.TCP = &event.TCPCheck{Address: v}
				}
			}
			all = append(all, c)
		}
	}
	return all
}

func status(s string) event.Status {
	for _, status := range []event.Status{event.Passing, event.Warning, event.Critical, event.Maintenance} {
		if status.String() == s {
			return status
		}
	}
	return 0
}

// pairs reads name=(a:b,c:d).
func pairs(args []datadriven.CmdArg, name string) map[string]string {
	var all map[string]string
	for _, a := range args {
		if a.Key != name {
			continue
		}
		for _, pair := range a.Vals {
			if k, v, ok := strings.Cut(pair, ":"); ok {
				if all == nil {
					all = map[string]string{}
				}
				all[k] = v
			}
		}
	}
	return all
}

// parseConditions reads "exists", "absent", "empty", "revision=R", "version=N", "created=R" and "value=V"; with "op"
// one of = != < >.
func parseConditions(t *testing.T, key string, args []datadriven.CmdArg) []commands.Condition {
	t.Helper()
	op := commands.Equal
	if s, ok := value(args, "op"); ok {
		op = map[string]commands.Op{"=": commands.Equal, "!=": commands.NotEqual, "<": commands.Less, ">": commands.Greater}[s]
	}
	var cs []commands.Condition
	for _, a := range args {
		switch a.Key {
		case "exists":
			cs = append(cs, commands.KeyExists(key, true))
		case "bound":
			bound := ""
			if len(a.Vals) > 0 {
				bound = a.Vals[0]
			}
			cs = append(cs, commands.Condition{Field: commands.FieldSession, Key: key, Value: []byte(bound), Op: op})
		case "absent":
			cs = append(cs, commands.KeyExists(key, false))
		case "empty":
			cs = append(cs, commands.Condition{Field: commands.FieldEmpty, Key: key, Number: 1})
		case "revision":
			cs = append(cs, commands.Condition{Field: commands.FieldRevision, Key: key, Number: number(t, args, "revision"), Op: op})
		case "created":
			cs = append(cs, commands.Condition{Field: commands.FieldCreateRevision, Key: key, Number: number(t, args, "created"), Op: op})
		case "version":
			cs = append(cs, commands.Condition{Field: commands.FieldVersion, Key: key, Number: number(t, args, "version"), Op: op})
		case "value":
			cs = append(cs, commands.Condition{Field: commands.FieldValue, Key: key, Value: []byte(a.Vals[0]), Op: op})
		}
	}
	return cs
}

// argument is the n-th word that is no name=value. A word in quotes is read as a Go string.
func argument(args []datadriven.CmdArg, n int) string {
	for _, a := range args {
		if len(a.Vals) > 0 {
			continue
		}
		if n == 0 {
			if s, err := strconv.Unquote(a.Key); err == nil {
				return s
			}
			if s, ok := strings.CutPrefix(a.Key, "long:"); ok {
				size, _ := strconv.Atoi(s)
				return strings.Repeat("k", size)
			}
			return a.Key
		}
		n--
	}
	return ""
}

func value(args []datadriven.CmdArg, name string) (string, bool) {
	for _, a := range args {
		if a.Key == name && len(a.Vals) > 0 {
			if s, err := strconv.Unquote(a.Vals[0]); err == nil {
				return s, true
			}
			return a.Vals[0], true
		}
	}
	return "", false
}

func number(t *testing.T, args []datadriven.CmdArg, name string) uint64 {
	t.Helper()
	s, ok := value(args, name)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
