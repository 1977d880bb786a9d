package event

// The size bounds of everything that a client can send. Each has its own clear refusal, in package commands.
const (
	KeyBytesMax         = 1024                 // a key, in bytes of UTF-8
	KeySegmentsMax      = 128                  // segments of a key, split at "/"
	ValueBytesMax       = 512 << 10            // a value
	ContentTypeBytesMax = 256                  // a value's content type
	TxnOperationsMax    = 512                  // operations in each branch of a transaction, and its conditions
	TxnBytesMax         = 2 << 20              // keys and values of a transaction together
	NameBytesMax        = 255                  // names of services, instances and nodes; an address; a tag
	DNSNameBytesMax     = 253                  // a host name in text: 255 bytes on the wire (RFC 1035 section 3.1), less two
	TagsMax             = 64                   // tags of an instance
	MetaEntriesMax      = 64                   // metadata entries of an instance
	MetaBytesMax        = 8 << 10              // metadata of an instance together
	ReasonBytesMax      = 1024                 // a reason given for a change
	ActorBytesMax       = 256                  // an actor's name
	IdempotencyKeyMax   = 128                  // an idempotency key, in bytes
	NamespaceBytesMax   = 63                   // a namespace name
	MemberBytesMax      = 63                   // a server's name
	NonceBytesMax       = 64                   // what tells a server's data folder from another of that name
	TreeEntriesMax      = 10_000               // values of a document that is written at once
	ListEntriesMax      = 10_000               // entries in one page of a list
	TxnPrefixesMax      = 16                   // prefixes that a transaction's conditions and each of its branches name together
	TxnReadBytesMax     = 8 << 20              // keys and values that a transaction's gets read together
	TTLMin              = 1e9                  // nanoseconds that a lease lives at least: a second
	TTLMax              = 30 * 24 * 3600 * 1e9 // and at most: 30 days
	LockDelayMax        = 60 * 1e9             // nanoseconds
	ReleasedBytesMax    = 4 << 20              // values of keys that are released in one commit: each is written anew
	LetGoBytesMax       = 64 << 20             // values of keys that the ends of sessions delete in one commit: each is read
	ExpireMax           = 1000                 // leases that end in one commit
	ChecksMax           = 16                   // checks of an instance
	CheckBytesMax       = 16 << 10             // all that the checks of an instance say
	CheckIntervalMin    = 100 * 1e6            // nanoseconds between two looks at a target
	CheckIntervalMax    = 24 * 3600 * 1e9      //
	CheckTimeoutMin     = 1 * 1e6              // nanoseconds for an answer
	CheckTimeoutMax     = 60 * 1e9             //
	CheckThresholdMax   = 100                  // results in a row
	DeregisterAfterMin  = 1e9                  // nanoseconds
	CredentialsMax      = 64                   // credentials of an instance
	CredentialsBytesMax = 8 << 10              // names and values of them together
	DNSTTLMax           = 7 * 24 * 3600 * 1e9  // nanoseconds for which a DNS answer may be cached
	ClearEventsMax      = 10_000               // things that go in one commit when a deleted namespace is emptied
	FillEntriesMax      = 1000                 // keys that a namespace takes over from another in one commit
	CommitEventsMax     = 100_000              // events in one commit, so that no delete of a prefix stalls a replica
)
