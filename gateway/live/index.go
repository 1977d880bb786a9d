package live

import "strings"

// index finds the streams that want a subject, at the cost of those alone: a tree of the segments of their filters.
type index struct {
	root node
	size int
}

type node struct {
	below map[string]*node // by segment; "*" is any
	exact bucket           // filters that end here
	rest  bucket           // those that go on with ">"
}

// bucket holds streams with the same filter. Each knows its place, so that one among ten thousand leaves at once.
type bucket struct{ streams []*Stream }

func (b *bucket) add(s *Stream) {
	s.bucket, s.slot = b, len(b.streams)
	b.streams = append(b.streams, s)
}

func (b *bucket) remove(s *Stream) {
	last := len(b.streams) - 1
	moved := b.streams[last]
	b.streams[s.slot], moved.slot = moved, s.slot
	b.streams[last] = nil
	b.streams = b.streams[:last]
	s.bucket = nil
}

func (n *node) empty() bool {
	return len(n.below) == 0 && len(n.exact.streams) == 0 && len(n.rest.streams) == 0
}

func (x *index) add(s *Stream) {
	segments, rest := s.filter.Segments()
	n := &x.root
	for _, segment := range segments {
		next := n.below[segment]
		if next == nil {
			next = &node{}
			if n.below == nil {
				n.below = map[string]*node{}
			}
			n.below[segment] = next
		}
		n = next
	}
	if rest {
		n.rest.add(s)
	} else {
		n.exact.add(s)
	}
	x.size++
}

// remove takes a stream out, and the branches that nobody needs any more.
func (x *index) remove(s *Stream) {
	s.bucket.remove(s)
	x.size--
	segments, _ := s.filter.Segments()
	x.root.prune(segments)
}

func (n *node) prune(segments []string) {
	if len(segments) == 0 {
		return
	}
	next := n.below[segments[0]]
	if next == nil {
		return
	}
	if next.prune(segments[1:]); next.empty() {
		delete(n.below, segments[0])
	}
}

// match calls found with the streams that want a subject, each once.
func (x *index) match(subject string, found func([]*Stream)) { x.root.match(subject, found) }

func (n *node) match(subject string, found func([]*Stream)) {
	if subject == "" {
		if len(n.exact.streams) > 0 {
			found(n.exact.streams)
		}
		return
	}
	if len(n.rest.streams) > 0 {
		found(n.rest.streams)
	}
	if len(n.below) == 0 {
		return
	}
	segment, more, _ := strings.Cut(subject, ".")
	if next := n.below[segment]; next != nil && segment != "*" { // no subject has a segment that is a wildcard
		next.match(more, found)
	}
	if next := n.below["*"]; next != nil {
		next.match(more, found)
	}
}

// each yields all streams.
func (x *index) each(yield func(*Stream)) { x.root.each(yield) }

func (n *node) each(yield func(*Stream)) {
	for _, s := range n.exact.streams {
		yield(s)
	}
	for _, s := range n.rest.streams {
		yield(s)
	}
	for _, next := range n.below {
		next.each(yield)
	}
}
