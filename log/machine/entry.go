package machine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/rollcall/rollcall/log/event"
)

// Command is a request to change a ledger, as it travels through Raft: the part that every ledger needs, and a body
// that only the Domain understands.
type Command struct {
	Ledger string     `cbor:"1,keyasint"`
	Time   event.Time `cbor:"2,keyasint"` // the proposer's wall clock
	Actor  string     `cbor:"3,keyasint,omitempty"`
	Reason string     `cbor:"4,keyasint,omitempty"`
	Body   []byte     `cbor:"5,keyasint"`
}

// The bytes of a Raft entry are a version (one byte), the number of the process that proposed it (8 bytes,
// big-endian) and the commands, each behind its length (uvarint). One entry carries what was waiting when it was
// proposed, because the cost of an entry is larger than that of a command.
const (
	entryVersion = 1
	entryHeader  = 1 + 8
)

var errMalformedEntry = errors.New("malformed entry")

var encMode = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants: this is a build mistake, seen at the first start
	}
	return m
}()

// EncodeCommand gives a command's bytes.
func EncodeCommand(c Command) []byte {
	b, err := encMode.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("encode a command: %v", err)) // plain fields always encode
	}
	return b
}

// EncodeEntry packs commands, each as EncodeCommand gave it, into one Raft entry.
func EncodeEntry(origin uint64, commands [][]byte) []byte {
	size := entryHeader
	for _, c := range commands {
		size += binary.MaxVarintLen32 + len(c)
	}
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, size), entryVersion), origin)
	for _, c := range commands {
		b = appendFrame(b, c)
	}
	return b
}

// DecodeEntry is the inverse of EncodeEntry.
func DecodeEntry(b []byte) (origin uint64, commands []Command, err error) {
	if len(b) < entryHeader || b[0] != entryVersion {
		return 0, nil, fmt.Errorf("%w: it does not begin with version %d and an origin", errMalformedEntry, entryVersion)
	}
	frames, err := SplitFrames(b[entryHeader:])
	if err != nil {
		return 0, nil, err
	}
	commands = make([]Command, len(frames))
	for i, f := range frames {
		if err := cbor.Unmarshal(f, &commands[i]); err != nil {
			return 0, nil, fmt.Errorf("%w: command %d: %w", errMalformedEntry, i, err)
		}
	}
	return binary.BigEndian.Uint64(b[1:]), commands, nil
}

func appendFrame(dst, frame []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(frame))), frame...)
}

// SplitFrames takes apart what was put behind lengths: an entry's commands, or the replies to them.
func SplitFrames(b []byte) ([][]byte, error) {
	var frames [][]byte
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, fmt.Errorf("%w: frame %d is cut short", errMalformedEntry, len(frames))
		}
		frames = append(frames, b[size:size+int(n)])
		b = b[size+int(n):]
	}
	return frames, nil
}
