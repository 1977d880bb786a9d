package health

import (
	"container/list"

	"github.com/rollcall/rollcall/gateway"
)

// outputsBytesMax bounds what one server remembers of what targets say.
const outputsBytesMax = 64 << 20

// outputs are the last of each check, those that were written last behind. Whoever has them guards them.
type outputs struct {
	max   int
	bytes int
	order list.List
	by    map[key]*list.Element
}

type output struct {
	key

	gateway.Observation
}

func (o *output) size() int { return len(o.Output) + len(o.Fault) + 256 }

func newOutputs(limit int) *outputs { return &outputs{max: limit, by: map[key]*list.Element{}} }

func (o *outputs) set(k key, seen gateway.Observation) {
	o.drop(k)
	e := &output{k, seen}
	o.by[k] = o.order.PushBack(e)
	o.bytes += e.size()
	for o.bytes > o.max {
		o.drop(o.order.Front().Value.(*output).key)
	}
}

func (o *outputs) get(k key) (gateway.Observation, bool) {
	e := o.by[k]
	if e == nil {
		return gateway.Observation{}, false
	}
	return e.Value.(*output).Observation, true
}

func (o *outputs) drop(k key) {
	if e := o.by[k]; e != nil {
		o.bytes -= e.Value.(*output).size()
		o.order.Remove(e)
		delete(o.by, k)
	}
}
