package names

import "slices"

// Service is one service as DNS shows it: everything that is registered under names that differ only in case. It
// never changes.
type Service struct {
	// Name is the service's name in lower case.
	Name string
	// All is what the service's own name answers. Every instance counts as passing for now; once instances have
	// a status, the sets hold those that pass while the service exists as long as it has any instance.
	All Set

	tags      []labelled
	protocols []labelled
	twins     []*Instance // those whose id another instance has too, except for its case
}

// Set is the instances behind a name, and what they answer together. Treat it as read-only.
type Set struct {
	// Instances are sorted by label; each gives one SRV record.
	Instances []*Instance
	// V4 and V6 are the different addresses of the instances, sorted.
	V4 [][4]byte
	V6 [][16]byte
	// Text is the different metadata entries of the instances, as RFC 1464 writes them, sorted.
	Text []string
}

// labelled is a set with the tag or the protocol that its instances share.
type labelled struct {
	label string
	set   *Set
}

// Tagged gives the instances with a tag, which is in lower case; false when there are none.
func (s *Service) Tagged(tag []byte) (Set, bool) { return find(s.tags, tag) }

// Offering gives the instances that have a label as their protocol or as a tag, for the SRV names of RFC 2782.
// It is in lower case.
func (s *Service) Offering(label []byte) ([]*Instance, bool) {
	tagged, isTag := find(s.tags, label)
	speaking, isProtocol := find(s.protocols, label)
	switch {
	case !isProtocol:
		return tagged.Instances, isTag
	case !isTag:
		return speaking.Instances, true
	}
	both := slices.Concat(tagged.Instances, speaking.Instances)
	slices.SortFunc(both, compareInstances)
	return slices.Compact(both), true
}

// Instance gives the instance that a label in lower case names. Two that differ only in case answer together;
// each has a label of its own besides (Instance.Target).
func (s *Service) Instance(label []byte) (Set, bool) {
	all := s.All.Instances
	from, found := slices.BinarySearchFunc(all, label, func(i *Instance, l []byte) int { return compareLabel(i.label, l) })
	if !found {
		for _, twin := range s.twins {
			if twin.Target == string(label) {
				return twin.set(), true
			}
		}
		return Set{}, false
	}
	to := from + 1
	for to < len(all) && all[to].label == all[from].label {
		to++
	}
	if to == from+1 {
		return all[from].set(), true
	}
	var together setBuilder
	for _, i := range all[from:to] {
		together.add(i)
	}
	return together.set(), true
}

// set is the set of this one instance. It allocates only the slice of one.
func (i *Instance) set() Set {
	return Set{Instances: []*Instance{i}, V4: i.v4, V6: i.v6, Text: i.text}
}

func find(all []labelled, label []byte) (Set, bool) {
	i, found := slices.BinarySearchFunc(all, label, func(l labelled, b []byte) int { return compareLabel(l.label, b) })
	if !found {
		return Set{}, false
	}
	return *all[i].set, true
}

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
