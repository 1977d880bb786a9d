package names

import (
	"cmp"
	"slices"
)

// Service is one service as DNS shows it: everything that is registered under names that differ only in case. It
// never changes. It exists as long as it has any instance, whatever their status.
type Service struct {
	// Name is the service's name in lower case.
	Name string
	// TTL is for how many seconds what is answered for it may be cached; zero where it has no wish of its own.
	TTL uint32
	// All is what the service's own name answers.
	All Set

	edit      uint64
	instances sorted[*Instance] // all that are registered
	tags      sorted[*labelled]
	protocols sorted[*labelled] // without those that are a tag of the same instance
	shared    sorted[*labelled] // the labels that several instances have: ids that differ only in case
	targets   sorted[target]    // the names that those have instead
}

// labelled is the instances that share a label: a tag, a protocol, or that of their id.
type labelled struct {
	label  string
	edit   uint64
	exists int // how many there are, whatever their status
	set    Set // those that are shown
}

func (l *labelled) compare(o *labelled) int { return cmp.Compare(l.label, o.label) }

// target is an instance by its target.
type target struct{ instance *Instance }

func (t target) compare(o target) int { return cmp.Compare(t.instance.Target, o.instance.Target) }

// Tagged gives the instances with a tag, which is in lower case; false when no instance has it, whatever its status.
func (s *Service) Tagged(tag []byte) (Set, bool) {
	if l, ok := lookup(s.tags, tag, compareLabelled); ok {
		return l.set, true
	}
	return Set{}, false
}

// Offering gives the instances that have a label as a tag, and the others that have it as their protocol, for the SRV
// names of RFC 2782. It is in lower case; false when no instance has it, whatever its status.
func (s *Service) Offering(label []byte) (tagged, speaking Set, ok bool) {
	if l, has := lookup(s.tags, label, compareLabelled); has {
		tagged, ok = l.set, true
	}
	if l, has := lookup(s.protocols, label, compareLabelled); has {
		speaking, ok = l.set, true
	}
	return tagged, speaking, ok
}

// Instance gives the instance that a label in lower case names; false when there is none, whatever its status. Those
// that differ only in case answer together; each has a label of its own besides (Instance.Target).
func (s *Service) Instance(label []byte) (Set, bool) {
	if l, ok := lookup(s.shared, label, compareLabelled); ok {
		return l.set, true
	}
	if i, ok := lookup(s.instances, label, compareInstanceLabel); ok {
		return Set{one: i.ifShown()}, true
	}
	if t, ok := lookup(s.targets, label, compareTarget); ok {
		return Set{one: t.instance.ifShown()}, true
	}
	return Set{}, false
}

// put registers an instance, in place of its earlier version, and sees to it that every target names one instance:
// without that, the SRV records of two would point to one name with the addresses of both. changed is told of each
// instance that has another version now.
func (s *Service) put(edit uint64, i *Instance, changed func(before, now *Instance)) {
	before, exists := s.instances.get(i)
	shared := exists && before.shared
	if !exists {
		if other, ok := s.atLabel(i.label, 0); ok {
			shared = true
			s.rename(edit, other, true, changed)
		}
	}
	i = i.named(shared)
	s.swap(edit, before, i)
	changed(before, i)
}

// remove takes an instance out.
func (s *Service) remove(edit uint64, i *Instance, changed func(before, now *Instance)) {
	s.swap(edit, i, nil)
	changed(i, nil)
	if other, ok := s.atLabel(i.label, 0); ok && i.shared {
		if _, more := s.atLabel(i.label, 1); !more {
			s.rename(edit, other, false, changed)
		}
	}
}

func (s *Service) rename(edit uint64, i *Instance, shared bool, changed func(before, now *Instance)) {
	if now := i.named(shared); now != i {
		s.swap(edit, i, now)
		changed(i, now)
	}
}

// atLabel gives the k-th instance of a label.
func (s *Service) atLabel(label string, k int) (*Instance, bool) {
	k += rank(s.instances, label, func(i *Instance, l string) int { return cmp.Compare(i.label, l) })
	if k >= s.instances.len() || s.instances.at(k).label != label {
		return nil, false
	}
	return s.instances.at(k), true
}

// swap puts a version of an instance in the place of another one; nil for either means that there is none.
func (s *Service) swap(edit uint64, before, now *Instance) {
	if now == nil {
		s.instances.delete(edit, before)
	} else {
		s.instances.set(edit, now)
	}
	s.All.swap(edit, before.ifShown(), now.ifShown())
	swapTags(&s.tags, edit, before, now)
	swapOne(&s.protocols, edit, before, now, (*Instance).speaks)
	swapOne(&s.shared, edit, before, now, (*Instance).sharedLabel)
	if before != nil && before.shared {
		s.targets.delete(edit, target{before})
	}
	if now != nil && now.shared {
		s.targets.set(edit, target{now})
	}
}

// speaks is the instance's protocol, where that is no tag of it too.
func (i *Instance) speaks() string {
	if _, isTag := slices.BinarySearch(i.tags, i.protocol); isTag {
		return ""
	}
	return i.protocol
}

func (i *Instance) sharedLabel() string {
	if !i.shared {
		return ""
	}
	return i.label
}

// swapTags does swap for the sets of all tags that either version has.
func swapTags(all *sorted[*labelled], edit uint64, before, now *Instance) {
	var was, is []string
	if before != nil {
		was = before.tags
	}
	if now != nil {
		is = now.tags
	}
	for _, tag := range was {
		if _, stays := slices.BinarySearch(is, tag); stays {
			swapLabel(all, edit, tag, before, now)
		} else {
			swapLabel(all, edit, tag, before, nil)
		}
	}
	for _, tag := range is {
		if _, had := slices.BinarySearch(was, tag); !had {
			swapLabel(all, edit, tag, nil, now)
		}
	}
}

// swapOne does swap for the sets of labels of which an instance has one at most.
func swapOne(all *sorted[*labelled], edit uint64, before, now *Instance, label func(*Instance) string) {
	var was, is string
	if before != nil {
		was = label(before)
	}
	if now != nil {
		is = label(now)
	}
	if was == is {
		if is != "" {
			swapLabel(all, edit, is, before, now)
		}
		return
	}
	if was != "" {
		swapLabel(all, edit, was, before, nil)
	}
	if is != "" {
		swapLabel(all, edit, is, nil, now)
	}
}

func swapLabel(all *sorted[*labelled], edit uint64, label string, before, now *Instance) {
	l, ok := lookup(*all, label, func(l *labelled, s string) int { return cmp.Compare(l.label, s) })
	switch {
	case !ok:
		l = &labelled{label: label, edit: edit}
	case l.edit != edit:
		c := *l
		l, c.edit = &c, edit
	}
	l.exists += oneIf(now != nil) - oneIf(before != nil)
	l.set.swap(edit, before.ifShown(), now.ifShown())
	if l.exists == 0 {
		all.delete(edit, l)
		return
	}
	all.set(edit, l)
}

func compareLabelled(l *labelled, label []byte) int      { return compareLabel(l.label, label) }
func compareInstanceLabel(i *Instance, label []byte) int { return compareLabel(i.label, label) }
func compareTarget(t target, label []byte) int           { return compareLabel(t.instance.Target, label) }

// compareLabel is strings.Compare against bytes, without making a string of them.
func compareLabel(a string, b []byte) int {
	switch {
	case a == string(b):
		return 0
	case a < string(b):
		return -1
	}
	return 1
}
