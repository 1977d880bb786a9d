package names

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// builder puts a service together, event by event, and gives an immutable record of it when asked. It belongs to
// the goroutine that applies its namespace's events.
type builder struct {
	name      string
	instances map[instanceKey]*Instance
	all       setBuilder
	tags      []*labelledBuilder // sorted by label
	protocols []*labelledBuilder // sorted by label
	twins     []*Instance        // those whose Target is not their label
}

func newBuilder(name string) *builder {
	return &builder{name: name, instances: map[instanceKey]*Instance{}}
}

// put registers an instance, in place of an earlier registration. One that cannot be reached by DNS is taken out.
func (b *builder) put(i *Instance) {
	b.remove(i.key)
	if !i.reachable() {
		return
	}
	b.insert(i)
	b.settle(i.label)
}

// remove takes an instance out; nothing happens when there is none.
func (b *builder) remove(k instanceKey) {
	if i := b.instances[k]; i != nil {
		b.extract(i)
		b.settle(i.label)
	}
}

// settle gives each instance of a label its target: the label itself where it is the only one, else its hash.
// Without it, the SRV records of two instances would point to one name with the addresses of both.
func (b *builder) settle(label string) {
	same := slices.Clone(b.all.labelled(label))
	for _, i := range same {
		target := i.label
		if len(same) > 1 {
			target = hashLabel(i.key)
		}
		if i.Target != target {
			b.extract(i)
			b.insert(i.renamed(target))
		}
	}
}

func (b *builder) insert(i *Instance) {
	b.instances[i.key] = i
	b.all.add(i)
	for _, tag := range i.tags {
		b.tags = addLabelled(b.tags, tag, i)
	}
	if i.protocol != "" {
		b.protocols = addLabelled(b.protocols, i.protocol, i)
	}
	if i.Target != i.label {
		b.twins = append(b.twins, i)
	}
}

func (b *builder) extract(i *Instance) {
	delete(b.instances, i.key)
	b.all.remove(i)
	for _, tag := range i.tags {
		b.tags = removeLabelled(b.tags, tag, i)
	}
	if i.protocol != "" {
		b.protocols = removeLabelled(b.protocols, i.protocol, i)
	}
	if i.Target != i.label {
		b.twins = slices.DeleteFunc(b.twins, func(t *Instance) bool { return t == i })
	}
}

// service is the record of what was put together so far; nil when no instance is left.
func (b *builder) service() *Service {
	if len(b.instances) == 0 {
		return nil
	}
	return &Service{
		Name: b.name, All: b.all.set(), tags: labelledSets(b.tags), protocols: labelledSets(b.protocols),
		twins: slices.Clone(b.twins),
	}
}

// setBuilder collects the instances behind one name. The zero value is ready for use.
type setBuilder struct {
	instances []*Instance // sorted by compareInstances
	v4        bag[[4]byte]
	v6        bag[[16]byte]
	text      bag[string]
}

func (s *setBuilder) add(i *Instance) {
	at, _ := slices.BinarySearchFunc(s.instances, i, compareInstances)
	s.instances = slices.Insert(s.instances, at, i)
	for _, a := range i.v4 {
		s.v4.add(a, compare4)
	}
	for _, a := range i.v6 {
		s.v6.add(a, compare16)
	}
	for _, t := range i.text {
		s.text.add(t, strings.Compare)
	}
}

func (s *setBuilder) remove(i *Instance) {
	at, found := slices.BinarySearchFunc(s.instances, i, compareInstances)
	if !found {
		return
	}
	s.instances = slices.Delete(s.instances, at, at+1)
	for _, a := range i.v4 {
		s.v4.remove(a, compare4)
	}
	for _, a := range i.v6 {
		s.v6.remove(a, compare16)
	}
	for _, t := range i.text {
		s.text.remove(t, strings.Compare)
	}
}

// labelled are the instances of a label. They are valid until the next change.
func (s *setBuilder) labelled(label string) []*Instance {
	from, _ := slices.BinarySearchFunc(s.instances, label, func(i *Instance, l string) int { return cmp.Compare(i.label, l) })
	to := from
	for to < len(s.instances) && s.instances[to].label == label {
		to++
	}
	return s.instances[from:to]
}

// set copies what was collected, so that readers may keep it.
func (s *setBuilder) set() Set {
	return Set{
		Instances: slices.Clone(s.instances), V4: slices.Clone(s.v4.keys), V6: slices.Clone(s.v6.keys),
		Text: slices.Clone(s.text.keys),
	}
}

// labelledBuilder collects the instances of a tag or a protocol.
type labelledBuilder struct {
	label     string
	builder   setBuilder
	published *Set // what readers have; nil after a change
}

func addLabelled(all []*labelledBuilder, label string, i *Instance) []*labelledBuilder {
	at, found := searchLabelled(all, label)
	if !found {
		all = slices.Insert(all, at, &labelledBuilder{label: label})
	}
	all[at].builder.add(i)
	all[at].published = nil
	return all
}

func removeLabelled(all []*labelledBuilder, label string, i *Instance) []*labelledBuilder {
	at, found := searchLabelled(all, label)
	if !found {
		return all
	}
	all[at].builder.remove(i)
	all[at].published = nil
	if len(all[at].builder.instances) == 0 {
		return slices.Delete(all, at, at+1)
	}
	return all
}

func searchLabelled(all []*labelledBuilder, label string) (at int, found bool) {
	return slices.BinarySearchFunc(all, label, func(l *labelledBuilder, s string) int { return cmp.Compare(l.label, s) })
}

func labelledSets(all []*labelledBuilder) []labelled {
	sets := make([]labelled, len(all))
	for at, l := range all {
		if l.published == nil {
			set := l.builder.set()
			l.published = &set
		}
		sets[at] = labelled{l.label, l.published}
	}
	return sets
}

// bag is sorted keys, each with how many instances hold it. The zero value is empty.
type bag[K any] struct {
	keys   []K
	counts []int
}

func (b *bag[K]) add(k K, compare func(K, K) int) {
	at, found := slices.BinarySearchFunc(b.keys, k, compare)
	if found {
		b.counts[at]++
		return
	}
	b.keys = slices.Insert(b.keys, at, k)
	b.counts = slices.Insert(b.counts, at, 1)
}

func (b *bag[K]) remove(k K, compare func(K, K) int) {
	at, found := slices.BinarySearchFunc(b.keys, k, compare)
	if !found {
		return
	}
	if b.counts[at]--; b.counts[at] == 0 {
		b.keys = slices.Delete(b.keys, at, at+1)
		b.counts = slices.Delete(b.counts, at, at+1)
	}
}

func compare4(a, b [4]byte) int   { return bytes.Compare(a[:], b[:]) }
func compare16(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }
