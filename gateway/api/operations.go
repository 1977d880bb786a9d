package api

import (
	"net/http"
	"reflect"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// operation is one line of the table that is both the router and the document.
type operation struct {
	id      string // unique, in the document and in metrics
	method  string // GET answers HEAD too
	path    string // a template; {name...} takes the rest of the path
	group   string
	summary string
	about   string // more of it, in Markdown

	renewal bool // a write that is no event: it can be neither rehearsed nor explained
	write   bool // it changes something: no reading options, and not in Rollcall's own ledger
	stream  bool // it may last: no deadline but its own
	query   []parameter
	headers []header
	body    *body
	answers []answer
	or      reflect.Type // what a 200 may have in place of its answer, nil for nothing
	// refusals are the codes that say something particular about this operation; those that every operation may
	// give are added to the document.
	refusals []commands.Code

	handle func(*call) error
	// page answers a message in place of handle, where that sends more than a message holds.
	page    func(*call) error
	refused []string // headers that would have no effect; see deaf
}

// body is what an operation takes.
type body struct {
	about     string
	mediaType string
	of        reflect.Type // nil: bytes as they are
	others    []string     // more media types, of bytes as they are
	optional  bool
}

// answer is one success.
type answer struct {
	status  int
	about   string
	headers []string // besides Rollcall-Revision
	as      []representation
}

// representation is one form of an answer.
type representation struct {
	mediaType string
	of        reflect.Type // nil: bytes or lines as they are
}

func asJSON[T any]() []representation {
	return []representation{{"application/json", reflect.TypeFor[T]()}}
}

func jsonBody[T any](about string) *body {
	return &body{about: about, mediaType: "application/json", of: reflect.TypeFor[T]()}
}

// reserved tells whether the operation would write into Rollcall's own ledger what does not belong there.
func (op *operation) reserved(namespace string) bool { return namespace == event.System }

// operations is the table.
func operations() []operation {
	all := []operation{documentOperation()}
	all = append(all, keyOperations()...)
	all = append(all, appendOperation())
	all = append(all, listOperations()...)
	all = append(all, treeOperation())
	all = append(all, txnOperation())
	all = append(all, serviceOperations()...)
	all = append(all, instanceOperations()...)
	all = append(all, healthOperations()...)
	all = append(all, nodeOperations()...)
	all = append(all, sessionOperations()...)
	all = append(all, eventsOperation(), historyOperation())
	all = append(all, namespaceOperations()...)
	all = append(all, memberOperations()...)
	all = append(all, snapshotOperation())
	for i := range all {
		all[i].complete()
	}
	return all
}

// complete adds what is the same for every operation of a kind.
func (op *operation) complete() {
	if op.id == documentID {
		return
	}
	switch {
	case op.renewal:
		op.headers = append(op.headers, header{headerKey, "It is not needed: a renewal may be repeated"})
	case op.write:
		op.headers = append(op.headers, header{
			headerReason,
			"Why, in the writer's words; it is kept on the events. At most 1024 bytes of UTF-8 without control characters",
		}, header{
			headerKey,
			"A name for this change, at most 128 printable ASCII characters, and another one for each: the same request with the same key, " +
				"made again within ten minutes, gets the first answer and changes nothing. One that was refused or had nothing to change is decided anew",
		})
		op.query = append(op.query, parameter{
			name: dryRun, kind: flag,
			description: "Write nothing; answer with the events that would be written, as a `Rehearsal`, or with the refusal",
		})
	case !op.stream:
		op.query = append(op.query, reading...)
	}
	op.query = append(op.query, parameter{name: "pretty", kind: flag, description: "Indent the JSON for people"})
	op.refused = op.deaf()
}

const documentID = "openapi"

func documentOperation() operation {
	return operation{
		id: documentID, method: http.MethodGet, path: "/openapi.json", group: "document",
		summary: "This document",
		answers: []answer{{status: 200, about: "OpenAPI 3.1", as: []representation{{"application/json", nil}}}},
		handle: func(c *call) error {
			c.send(http.StatusOK, "application/json", c.api.document())
			return nil
		},
	}
}

// everywhere are the codes that any operation may give.
var everywhere = []commands.Code{
	gateway.CodeInternal, gateway.CodeStateDiverged, gateway.CodeStopping, gateway.CodeUnknownParameter, gateway.CodeInvalidParameter,
	gateway.CodeUnknownHeader, commands.CodeUnknownNamespace, gateway.CodeNoQuorum,
}

// everyWrite and everyRead are those that any write and any read may give besides.
var (
	everyWrite = []commands.Code{
		commands.CodeBusy, gateway.CodeOutcomeUnknown, gateway.CodeReservedNamespace, gateway.CodeCrossOrigin,
		gateway.CodeInvalidHeader, commands.CodeInvalidRequestKey, commands.CodeRequestKeyReused, gateway.CodeVersionNotReached,
		commands.CodeHistoryTrimmed, commands.CodeQuotaExceeded,
	}
	everyRead = []commands.Code{gateway.CodeInvalidRevision, gateway.CodeRevisionNotSeen, commands.CodeHistoryTrimmed}
)

func optional(b *body) *body {
	b.optional = true
	return b
}
