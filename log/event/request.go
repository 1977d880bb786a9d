package event

// Request is what a ledger remembers of a request with an idempotency key, so that the same request, made again,
// changes nothing.
type Request struct {
	Key string `cbor:"1,keyasint"`
	// Fingerprint tells the command from any other that the key may be used for.
	Fingerprint []byte `cbor:"2,keyasint"`
	// Version is that of the decisions which the command was written for.
	Version uint32 `cbor:"3,keyasint"`
}

// RequestKept is for how long a request is remembered: ten minutes, from its event's time to the time of the command
// that repeats it.
const RequestKept Time = 10 * 60 * 1e9

// Done is a request that was answered with a commit: the row that the requests view keeps.
type Done struct {
	Request
	First, Commit Revision // the commit's events
	Time          Time
}
