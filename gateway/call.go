package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Call is a request to an operation that came as a message and not over HTTP: docs/nats.md says what stands in it.
type Call struct {
	Namespace string
	Operation string              // its id in the OpenAPI document, such as kv.put
	Header    map[string][]string // by canonical names
	Body      []byte              // a JSON object, or nothing
	// Room is asked before the answer to a read is made, so that not all answers that were asked for at once are in memory
	// at once. It reports whether there is room; with wait it does so when there is some, or when ctx ends. A large answer
	// may fill a message. What it gave belongs to the call until its answer has left. Nil sets no bound.
	Room func(ctx context.Context, large, wait bool) bool
}

// Reply is the answer to a Call.
type Reply struct {
	Status  int                 // of HTTP
	Header  map[string][]string // Rollcall-Revision, and where HTTP would send them ETag, Rollcall-Staleness and Retry-After
	Body    []byte              // JSON: the answer, or the problem
	Problem *Problem            // nil for a success
}

// ReplyBytesMax bounds the body of a Reply: a message holds 4 MiB, its headers included.
const ReplyBytesMax = 4<<20 - 16<<10

// Refuse is the answer that is a problem.
func Refuse(p *Problem) Reply {
	body, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("write a problem: %v", err)) // plain fields always encode
	}
	r := Reply{Status: p.Status, Header: map[string][]string{}, Body: append(body, '\n'), Problem: p}
	if p.RetryAfter > 0 {
		r.Header["Retry-After"] = []string{strconv.Itoa(p.RetryAfter)}
	}
	return r
}
