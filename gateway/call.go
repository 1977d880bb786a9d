package gateway

// Call is a request to an operation that came as a message and not over HTTP: docs/nats.md says what stands in it.
type Call struct {
	Namespace string
	Operation string              // its id in the OpenAPI document, such as kv.put
	Header    map[string][]string // by canonical names
	Body      []byte              // a JSON object, or nothing
}

// Reply is the answer to a Call.
type Reply struct {
	Status  int                 // of HTTP
	Header  map[string][]string // Rollcall-Revision, and where HTTP would send them ETag, Rollcall-Staleness and Retry-After
	Body    []byte              // JSON: the answer, or the problem
	Problem *Problem            // nil for a success
}
