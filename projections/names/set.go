package names

import "slices"

// Set is the instances behind a name that DNS shows, and what they answer together. It never changes.
type Set struct {
	one       *Instance // the only one: then the rest is empty
	instances sorted[*Instance]
	v4        bag[addressV4]
	v6        bag[addressV6]
	text      bag[attribute]
}

// Len is how many instances there are; each gives one SRV record.
func (s *Set) Len() int {
	if s.one != nil {
		return 1
	}
	return s.instances.len()
}

// At gives the k-th instance.
func (s *Set) At(k int) *Instance {
	if s.one != nil {
		return s.one
	}
	return s.instances.at(k)
}

// V4Len is how many different IPv4 addresses the instances have.
func (s *Set) V4Len() int {
	if s.one != nil {
		return oneIf(s.one.family == family4)
	}
	return s.v4.len()
}

// V4At gives the k-th of them.
func (s *Set) V4At(k int) [4]byte {
	if s.one != nil {
		return [4]byte(s.one.address[12:])
	}
	return s.v4.at(k)
}

// V6Len is how many different IPv6 addresses the instances have.
func (s *Set) V6Len() int {
	if s.one != nil {
		return oneIf(s.one.family == family6)
	}
	return s.v6.len()
}

// V6At gives the k-th of them.
func (s *Set) V6At(k int) [16]byte {
	if s.one != nil {
		return s.one.address
	}
	return s.v6.at(k)
}

// TextLen is how many different entries the instances' metadata has.
func (s *Set) TextLen() int {
	if s.one != nil {
		return len(s.one.text)
	}
	return s.text.len()
}

// TextAt gives the k-th of them, as RFC 1464 writes it.
func (s *Set) TextAt(k int) string {
	if s.one != nil {
		return s.one.text[k]
	}
	return string(s.text.at(k))
}

func oneIf(is bool) int {
	if is {
		return 1
	}
	return 0
}

// swap puts an instance in the place of its earlier version; nil for either means that there is none.
func (s *Set) swap(edit uint64, before, now *Instance) {
	switch {
	case before == nil && now == nil:
	case before == nil && s.Len() == 0, before != nil && s.one != nil:
		s.one = now
	case s.one != nil:
		first := s.one
		s.one = nil
		s.spread(edit, nil, first)
		s.spread(edit, nil, now)
	default:
		if s.spread(edit, before, now); s.instances.len() == 1 {
			*s = Set{one: s.instances.at(0)}
		}
	}
}

// spread does the same to the sequences, of which only those are touched that change.
func (s *Set) spread(edit uint64, before, now *Instance) {
	if now == nil {
		s.instances.delete(edit, before)
	} else {
		s.instances.set(edit, now)
	}
	if before != nil && now != nil && before.family == now.family && before.address == now.address {
		s.respell(edit, before.text, now.text)
		return
	}
	var was, is []string
	if before != nil {
		was = before.text
		s.count(edit, before, false)
	}
	if now != nil {
		is = now.text
		s.count(edit, now, true)
	}
	s.respell(edit, was, is)
}

// count adds an instance's address, or takes it away.
func (s *Set) count(edit uint64, i *Instance, add bool) {
	switch {
	case i.family == family4 && add:
		s.v4.add(edit, addressV4(i.address[12:]))
	case i.family == family4:
		s.v4.remove(edit, addressV4(i.address[12:]))
	case i.family == family6 && add:
		s.v6.add(edit, i.address)
	case i.family == family6:
		s.v6.remove(edit, i.address)
	}
}

// respell replaces the entries of an instance's metadata. Both are sorted.
func (s *Set) respell(edit uint64, was, is []string) {
	for _, t := range was {
		if _, stays := slices.BinarySearch(is, t); !stays {
			s.text.remove(edit, attribute(t))
		}
	}
	for _, t := range is {
		if _, there := slices.BinarySearch(was, t); !there {
			s.text.add(edit, attribute(t))
		}
	}
}
