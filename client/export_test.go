package client

import (
	"encoding/json"
	"time"
)

// SetAttempt has answers over NATS wait no longer than this.
func (c *Client) SetAttempt(d time.Duration) { c.attempt = d }

// SetRoom bounds what waits for a watch.
func (c *Client) SetRoom(events, bytes int) { c.room = room{events, bytes} }

// DecodeEvent reads an event with encoding/json.
func DecodeEvent(raw []byte) (Event, error) { return decodeEvent(raw) }

// ScanEvent reads an event of the plain form.
func ScanEvent(raw []byte) (Event, bool) { return scanEvent(raw) }

// AppendText writes a text as JSON.
func AppendText(s string) json.RawMessage { return appendText(nil, s) }

// Operations are method and path of all that the client asks for.
func Operations() map[string][2]string {
	all := map[string][2]string{}
	for name, o := range operations {
		all[name] = [2]string{o.method, o.path}
	}
	return all
}
