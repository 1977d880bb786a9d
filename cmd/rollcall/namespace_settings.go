package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/rollcall/rollcall/client"
)

type namespaceShowCmd struct {
	Name string `arg:"" complete:"namespaces" help:"The namespace."`
}

// Help teaches by example.
func (namespaceShowCmd) Help() string {
	return `Shows what a namespace holds, what it may hold, and how much of its past can be read.

    rollcall namespace show staging
    rollcall namespace show default --json`
}

// Run shows a namespace.
func (c namespaceShowCmd) Run(ctx context.Context, s *session) error {
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	d, err := cl.NamespaceDetail(ctx, c.Name)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.line(d)
	}
	bound := func(n uint64, unit string) string {
		if n == 0 {
			return "no quota"
		}
		return "of " + strconv.FormatUint(n, 10) + unit
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	rows := [][]string{
		{"name", d.Name},
		{"group", number(d.Group)},
		{"keys", number(d.Usage.Keys), bound(d.Quotas.Keys, "")},
		{"bytes", number(d.Usage.Bytes), bound(d.Quotas.Bytes, "")},
		{"level", d.Usage.Level},
		{"keeps", keeps(d.Retention)},
	}
	if d.TTL != "" {
		row := []string{"ttl", d.TTL}
		if !d.Expires.IsZero() {
			row = append(row, "until "+d.Expires.Local().Format(time.DateTime))
		}
		rows = append(rows, row)
	}
	if d.From != "" {
		rows = append(rows, []string{"from", fmt.Sprintf("%s as of revision %d", plain(d.From), d.FromRevision)})
	}
	if d.KeptFrom > 0 {
		rows = append(rows, []string{"kept from", "revision " + number(d.KeptFrom)})
	}
	return table(s.stdout, rows)
}

// keeps says in words how much of the past can be read.
func keeps(r client.Retention) string {
	revisions := strconv.FormatUint(r.Revisions, 10) + " revisions"
	switch {
	case r.Age == "" && r.Revisions == 0:
		return "every state"
	case r.Age == "":
		return "the states of the last " + revisions
	case r.Revisions == 0:
		return "the states of the last " + r.Age
	}
	return "the states of the last " + r.Age + ", and those of the last " + revisions
}

type namespaceConfigureCmd struct {
	Name          string  `arg:"" complete:"namespaces" help:"The namespace. It is made where it is missing."`
	QuotaKeys     *uint64 `placeholder:"N" help:"At most so many keys; 0 for any number."`
	QuotaBytes    *uint64 `placeholder:"N" help:"At most so many bytes of keys and values together; 0 for any number."`
	KeepAge       *string `placeholder:"DURATION" help:"States of so long ago can be read, such as 720h; 0 or none for no such bound."`
	KeepRevisions *uint64 `placeholder:"N" help:"States of so many revisions can be read; 0 for no such bound."`
	TTL           string  `placeholder:"DURATION" help:"It disappears when nobody renews it for so long, such as 1h; 0 or none for good."`
}

// Help teaches by example.
func (namespaceConfigureCmd) Help() string {
	return `What is not named stays as it is. With an age and a number of revisions, what either keeps is kept.

    rollcall namespace configure staging --quota-keys 10000 --quota-bytes 67108864
    rollcall namespace configure staging --keep-age 720h --keep-revisions 100000

The ledger is never trimmed: who changed what stays known, and what a key was can be read from its history.`
}

// Run configures a namespace.
func (c namespaceConfigureCmd) Run(ctx context.Context, s *session) error {
	settings := client.NamespaceSettings{Keys: c.QuotaKeys, Bytes: c.QuotaBytes, Revisions: c.KeepRevisions}
	if c.KeepAge != nil {
		var age time.Duration
		if *c.KeepAge != "none" {
			var err error
			if age, err = time.ParseDuration(*c.KeepAge); err != nil || age < 0 {
				return misusef("--keep-age %s: a length of time such as 720h, or none", *c.KeepAge)
			}
		}
		settings.Age = &age
	}
	var err error
	if settings.TTL, err = lifetime(c.TTL); err != nil {
		return err
	}
	if settings == (client.NamespaceSettings{}) {
		return misusef("nothing to configure: name at least one of --quota-keys, --quota-bytes, --keep-age, --keep-revisions and --ttl")
	}
	cl, ctx, cancel, err := s.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	w, err := cl.ConfigureNamespace(ctx, c.Name, settings)
	if err != nil {
		return err
	}
	if w.Created {
		return s.result(w, "namespace %s is made and configured", c.Name)
	}
	return s.result(w, "namespace %s is configured", c.Name)
}

// settingsWords says what an event of a namespace's quotas and retention means.
func settingsWords(e client.Event) string {
	var d struct {
		Namespace string           `json:"namespace"`
		Quotas    client.Quotas    `json:"quotas"`
		Retention client.Retention `json:"retention"`
		Keys      uint64           `json:"keys"`
		Bytes     uint64           `json:"bytes"`
		Level     string           `json:"level"`
		KeptFrom  uint64           `json:"kept_from"`
		TTL       string           `json:"ttl"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	name := plain(d.Namespace)
	switch e.Type {
	case "rollcall.namespace.usage":
		return fmt.Sprintf("usage       %s: namespace %s holds %d keys (quota %s) and %d bytes (quota %s)",
			plain(d.Level), name, d.Keys, quota(d.Quotas.Keys), d.Bytes, quota(d.Quotas.Bytes))
	case "rollcall.namespace.trim":
		return fmt.Sprintf("trim        namespace %s keeps the states from #%d on", name, d.KeptFrom)
	}
	text := fmt.Sprintf("configure   namespace %s: quota of keys %s, of bytes %s; it keeps %s",
		name, quota(d.Quotas.Keys), quota(d.Quotas.Bytes), plain(keeps(d.Retention)))
	if d.TTL != "" {
		text += "; it is gone when nobody renews it for " + plain(d.TTL)
	}
	return text
}

func quota(n uint64) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatUint(n, 10)
}
