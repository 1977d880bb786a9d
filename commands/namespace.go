package commands

import "github.com/rollcall/rollcall/log/event"

// revisionMax is the last revision behind which others may be left out, so that no number ever runs over.
const revisionMax = 1 << 62

func decideOpenNamespace(s State, ledger string, c OpenNamespace) (Decision, *Rejection) {
	if c.Namespace != ledger {
		return Decision{}, reject(CodeInvalidNamespace, "an order to open %q came to the ledger of %q", c.Namespace, ledger)
	}
	if s.Head() > 0 {
		return decideReopen(s, ledger, c)
	}
	if c.Skip > event.SkipMax {
		return Decision{}, reject(CodeInvalidArgument, "an order to leave out %d revisions; at most %d", c.Skip, event.Revision(event.SkipMax))
	}
	d := one(event.NamespaceOpened{
		Namespace: c.Namespace, Cluster: c.Cluster, Placed: c.Placed, Groups: c.Groups, Skipped: c.Skip,
		From: c.From, FromRevision: c.FromRevision, Again: c.Again,
	}, Result{Created: true})
	d.Skip = c.Skip
	return d, nil
}

func decideRestoreNamespace(s State, ledger string, c RestoreNamespace) (Decision, *Rejection) {
	switch {
	case c.Namespace != ledger:
		return Decision{}, reject(CodeInvalidNamespace, "an order to restore %q came to the ledger of %q", c.Namespace, ledger)
	case s.Restored().Cluster == c.Cluster:
		return nothing(s.Head(), Result{}), nil
	case c.Skip == 0 || c.Skip > event.SkipMax || s.Head() > revisionMax:
		return Decision{}, reject(CodeInvalidArgument, "an order to leave out %d revisions behind revision %d; from 1 to %d",
			c.Skip, s.Head(), event.Revision(event.SkipMax))
	}
	d := one(event.NamespaceRestored{
		Namespace: c.Namespace, Cluster: c.Cluster, From: s.Head(), Skipped: c.Skip,
		FromCluster: c.FromCluster, Taken: c.Taken, Snapshot: c.Snapshot,
	}, Result{})
	d.Skip = c.Skip
	return d, nil
}

func decideCreateNamespace(s State, ledger string, c CreateNamespace) (Decision, *Rejection) {
	if ledger != event.System {
		return Decision{}, reject(CodeInvalidNamespace, "namespaces are created in %q, not in %q", event.System, ledger)
	}
	if n, exists := s.Namespace(c.Namespace); exists {
		if c.Group != 0 && c.Group != n.Group {
			return Decision{}, reject(CodeConditionFailed, "namespace %q is on group %d already, not on %d", c.Namespace, n.Group, c.Group)
		}
		if c.From != "" && c.From != n.From {
			return Decision{}, reject(CodeConditionFailed, "namespace %q exists already, and was not made from %q", c.Namespace, c.From)
		}
		return nothing(n.Revision, Result{Group: n.Group}), nil
	}
	if c.From != "" {
		if _, exists := s.Namespace(c.From); !exists {
			return Decision{}, reject(CodeUnknownNamespace, "namespace %q, which %q is to be made from, does not exist", c.From, c.Namespace)
		}
		if c.FromRevision == 0 {
			return Decision{}, ending(c.Namespace) // it was there when somebody looked, and would be made of nothing now
		}
	}
	group := c.Group
	gone, again := s.Gone(c.Namespace)
	if again {
		if group != 0 && group != gone.Group {
			return Decision{}, reject(CodeConditionFailed, "namespace %q was on group %d, and its ledger goes on there, not on %d", c.Namespace, gone.Group, group)
		}
		group = gone.Group
	}
	if group > s.Groups() {
		return Decision{}, reject(CodeInvalidNamespace, "group %d: the cluster has groups 1 to %d", group, s.Groups())
	}
	if group == 0 {
		group = leastLoaded(s)
	}
	return one(event.NamespaceCreated{
		Namespace: c.Namespace, Group: group, Previous: gone.Revision, From: c.From, FromRevision: c.FromRevision,
	}, Result{Created: true, Group: group}), nil
}

// leastLoaded is the group that hosts the fewest namespaces, the lowest among equals. The first group also hosts
// _system, so it counts one more.
func leastLoaded(s State) uint64 {
	hosted := make([]int, s.Groups()+1)
	hosted[1] = 1
	for n := range s.Namespaces() {
		hosted[n.Group]++
	}
	best := uint64(1)
	for g := uint64(2); g <= s.Groups(); g++ {
		if hosted[g] < hosted[best] {
			best = g
		}
	}
	return best
}
