package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// transaction is the body of POST txn.
type transaction struct {
	If   []condition `json:"if,omitempty" doc:"All must hold for then to run; none at all hold"`
	Then []txnStep   `json:"then,omitempty"`
	Else []txnStep   `json:"else,omitempty"`
}

// condition is one comparison: a key and one of the fields after it, or a prefix and empty.
type condition struct {
	Key            *string       `json:"key,omitempty"`
	Revision       *test[uint64] `json:"revision,omitempty" doc:"The commit that last wrote the key; 0 where there is none"`
	CreateRevision *test[uint64] `json:"create_revision,omitempty" doc:"The commit that made the key; 0 where there is none"`
	Version        *test[uint64] `json:"version,omitempty" doc:"How often the key was written since it was made; 0 where there is none"`
	Value          *test[string] `json:"value,omitempty" doc:"The value as text; what does not exist equals nothing"`
	ValueBase64    *test[[]byte] `json:"value_base64,omitempty" doc:"The value in base64"`
	Exists         *test[bool]   `json:"exists,omitempty"`
	Session        *test[string] `json:"session,omitempty" doc:"The session that the key is bound to; the empty text where there is none. It takes = and !="`
	Prefix         *string       `json:"prefix,omitempty"`
	Empty          *bool         `json:"empty,omitempty" doc:"No key starts with the prefix"`
}

// test is a comparison with a value: the value itself for equality, or {"op": "!=", "to": value}.
type test[T any] struct {
	Op string `json:"op"`
	To T      `json:"to"`
}

func (test[T]) shorthand() {}

// UnmarshalJSON implements json.Unmarshaler.
func (t *test[T]) UnmarshalJSON(b []byte) error {
	if b[0] == '{' {
		type plain test[T] // without this method
		return json.Unmarshal(b, (*plain)(t))
	}
	t.Op = "="
	return json.Unmarshal(b, &t.To)
}

// Schema implements huma.SchemaProvider.
func (test[T]) Schema(r huma.Registry) *huma.Schema {
	value := func() *huma.Schema { return plainInteger(r.Schema(reflect.TypeFor[T](), true, "")) }
	return &huma.Schema{AnyOf: []*huma.Schema{value(), {
		Type: huma.TypeObject, Required: []string{"op", "to"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"op": {Type: huma.TypeString, Enum: []any{"=", "!=", "<", ">"}},
			"to": value(),
		},
	}}}
}

func plainInteger(s *huma.Schema) *huma.Schema {
	if s.Type == huma.TypeInteger {
		s.Format = "" // which would leave out the upper half of the numbers
	}
	return s
}

// txnStep is one step of a branch: it has exactly one of the fields.
type txnStep struct {
	Put        *keyBody     `json:"put,omitempty"`
	Delete     *target      `json:"delete,omitempty" doc:"Deleting nothing is no fault here"`
	Get        *target      `json:"get,omitempty"`
	Register   *instance    `json:"register,omitempty"`
	Deregister *instanceRef `json:"deregister,omitempty" doc:"Removing nothing is no fault here"`
}

// keyBody is a put in a transaction: value or value_base64.
type keyBody struct {
	Key         string  `json:"key"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
	ContentType string  `json:"content_type,omitempty"`
	Flags       uint64  `json:"flags,omitempty"`
	TTL         string  `json:"ttl,omitempty" doc:"For how long the key stays when nobody writes or refreshes it"`
	Session     string  `json:"session,omitempty" doc:"What the key is bound to"`
}

// target names one key, or all that start with a prefix.
type target struct {
	Key    *string `json:"key,omitempty"`
	Prefix *string `json:"prefix,omitempty"`
}

// instanceRef names an instance.
type instanceRef struct {
	Service string `json:"service"`
	ID      string `json:"id"`
}
