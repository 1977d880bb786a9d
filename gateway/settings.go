package gateway

import (
	"strings"
	"time"

	"github.com/rollcall/rollcall/log/event"
)

// Quotas bound what a namespace may hold; zero is no bound.
type Quotas struct {
	Keys  uint64 `json:"keys,omitempty" doc:"At most so many keys"`
	Bytes uint64 `json:"bytes,omitempty" doc:"At most so many bytes of keys and values together"`
}

// Retention says for how long the past can be read; with both, what either keeps.
type Retention struct {
	Age       string `json:"age,omitempty" doc:"The states of so long ago, such as 720h"`
	Revisions uint64 `json:"revisions,omitempty" doc:"The states of so many revisions"`
}

// ConfiguredData is the data of rollcall.namespace.configure.
type ConfiguredData struct {
	Namespace  string    `json:"namespace"`
	Quotas     Quotas    `json:"quotas"`
	Retention  Retention `json:"retention"`
	TTL        string    `json:"ttl,omitempty"`
	Configured uint64    `json:"configured,omitempty"` // the revision of _system's ledger that asked for it
}

// UsageData is the data of rollcall.namespace.usage.
type UsageData struct {
	Namespace string `json:"namespace"`
	Keys      uint64 `json:"keys"`
	Bytes     uint64 `json:"bytes"`
	Quotas    Quotas `json:"quotas"`
	Level     string `json:"level"` // warning or normal
}

// TrimData is the data of rollcall.namespace.trim.
type TrimData struct {
	Namespace string `json:"namespace"`
	KeptFrom  uint64 `json:"kept_from"`
	Previous  uint64 `json:"previous,omitempty"`
}

func configuredData(b event.NamespaceConfigured) ConfiguredData {
	quotas, retention := NewSettings(b.Settings())
	return ConfiguredData{Namespace: b.Namespace, Quotas: quotas, Retention: retention, TTL: FormatTTL(b.TTL), Configured: uint64(b.Configured)}
}

// NewSettings presents a namespace's settings.
func NewSettings(s event.Settings) (Quotas, Retention) {
	r := Retention{Revisions: s.Revisions}
	if s.Age > 0 {
		r.Age = FormatDuration(s.Age)
	}
	return Quotas{Keys: s.Keys, Bytes: s.Bytes}, r
}

// FormatDuration gives a length of time without its zeros: 720h, not 720h0m0s.
func FormatDuration(d event.Time) string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
