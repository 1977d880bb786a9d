package commands

import (
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
)

// EncodeReply gives the bytes of what a caller is told: an answer or a rejection. Only the process that asked reads them.
func EncodeReply(a Answer, r *Rejection) []byte {
	if b, ok := encodePlain(a, r); ok {
		return b
	}
	b, err := encMode.Marshal(reply{Answer: a, Rejection: r})
	if err != nil {
		panic(fmt.Sprintf("encode a reply: %v", err))
	}
	return b
}

// DecodeReply is the inverse of EncodeReply.
func DecodeReply(b []byte) (Answer, *Rejection, error) {
	if len(b) > 0 && (b[0] == plainReply || b[0] == plainCreated) {
		return decodePlain(b)
	}
	var v reply
	if err := replyMode.Unmarshal(b, &v); err != nil {
		return Answer{}, nil, fmt.Errorf("malformed reply: %w", err)
	}
	return v.Answer, v.Rejection, nil
}

// replyMode has no bound on sizes: a reply comes from this very process, and a get of a prefix may be long.
var replyMode = must(cbor.DecOptions{
	UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 30,
}.DecMode())

type reply struct {
	Answer    Answer     `cbor:"1,keyasint,omitempty"`
	Rejection *Rejection `cbor:"2,keyasint,omitempty"`
}

// A plain reply is what nearly every write is told: one result, with a revision and perhaps a count. It is one of these
// bytes, which begin no CBOR map, and three numbers (uvarint): the answer's revision, the result's, how many were deleted.
const (
	plainReply   byte = 0
	plainCreated byte = 1
)

func encodePlain(a Answer, r *Rejection) ([]byte, bool) {
	if r != nil || a.Branch != NoBranch || a.Failed != nil || len(a.Results) != 1 {
		return nil, false
	}
	one := &a.Results[0]
	if one.Entries != nil || one.Group != 0 || one.Replica != 0 || one.Key != "" || one.More || one.Put != 0 {
		return nil, false
	}
	b := make([]byte, 1, 1+3*binary.MaxVarintLen64)
	b[0] = plainReply
	if one.Created {
		b[0] = plainCreated
	}
	for _, n := range [...]uint64{uint64(a.Revision), uint64(one.Revision), one.Deleted} {
		b = binary.AppendUvarint(b, n)
	}
	return b, true
}

func decodePlain(b []byte) (Answer, *Rejection, error) {
	var numbers [3]uint64
	rest := b[1:]
	for i := range numbers {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			return Answer{}, nil, fmt.Errorf("malformed reply: number %d of a plain one is cut short in %x", i, b)
		}
		numbers[i], rest = n, rest[size:]
	}
	if len(rest) > 0 {
		return Answer{}, nil, fmt.Errorf("malformed reply: %d bytes behind a plain one, %x", len(rest), b)
	}
	return Answer{Revision: event.Revision(numbers[0]), Results: []Result{{
		Revision: event.Revision(numbers[1]), Created: b[0] == plainCreated, Deleted: numbers[2],
	}}}, nil, nil
}
