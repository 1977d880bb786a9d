package names

import (
	"maps"
	"sync/atomic"
)

// shardsCount divides the services so that a new one copies a small map only: with 100,000 services about 400
// entries. A sync.Map would do as well but for the two allocations that each lookup by a []byte costs there.
const shardsCount = 256

// table finds services by name. Readers need no lock; there is one writer.
type table struct {
	shards [shardsCount]atomic.Pointer[map[string]*Service]
}

func (t *table) get(name []byte) *Service {
	if m := t.shards[shardOf(name)].Load(); m != nil {
		return (*m)[string(name)]
	}
	return nil
}

// set puts records in place, and takes away those that are nil.
func (t *table) set(records map[string]*Service) {
	changed := map[uint8]map[string]*Service{}
	for name, record := range records {
		shard := shardOf(name)
		if changed[shard] == nil {
			changed[shard] = t.clone(shard)
		}
		if record == nil {
			delete(changed[shard], name)
		} else {
			changed[shard][name] = record
		}
	}
	for shard, m := range changed {
		t.shards[shard].Store(&m)
	}
}

func (t *table) clone(shard uint8) map[string]*Service {
	if m := t.shards[shard].Load(); m != nil {
		return maps.Clone(*m)
	}
	return map[string]*Service{}
}

// shardOf is FNV-1a, folded to one byte.
func shardOf[T string | []byte](name T) uint8 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return uint8(h>>24 ^ h>>16 ^ h>>8 ^ h)
}
