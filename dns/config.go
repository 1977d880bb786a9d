package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/rollcall/rollcall/log/event"
	"github.com/rollcall/rollcall/projections/names"
)

// Config says what to answer from, where to listen and how much to take. A zero field means the value that its
// comment gives.
type Config struct {
	// View is what the answers come from. It is required.
	View *names.View
	// Domain is the name that everything is below, with or without the dot at the end; "rollcall.internal".
	// On the wire it takes at most 54 bytes, so that the longest instance's name still fits below it.
	Domain string
	// Address is the HOST:PORT to listen on, with UDP and TCP; "127.0.0.1:7653". Port 0 picks a port that is free
	// for both.
	Address string
	// Addresses are those under which clients reach this server: the A and AAAA records of the name server that
	// the NS records name. The default is the address it listens on; none when that is all addresses.
	Addresses []netip.Addr
	// TTL is how long a record may be cached, and NegativeTTL how long its absence; in whole seconds, at most 2^31-1
	// (RFC 2181 section 8). The default is zero: registrations are seen at once.
	TTL, NegativeTTL time.Duration
	// UDPBytesMax bounds a reply by UDP, whatever the client takes: 512 to 65535, by default 1232, which fits the
	// smallest IPv6 link without fragments (DNS flag day 2020).
	UDPBytesMax int
	// TCPConnectionsMax bounds the open connections; those beyond it are closed at once. The default is 1024.
	TCPConnectionsMax int
	// TCPIdleTimeout closes a connection that sends nothing for so long, or takes longer for one query or for
	// one reply (RFC 7766 section 6.2.3). The default is 10 s.
	TCPIdleTimeout time.Duration
	// At gives a part of a namespace as it was, for the names below at-REVISION; without it there are no such names.
	// It may take its time, and several calls may run at once.
	At func(context.Context, Past) (*names.Namespace, error)
	// Forward are the servers, HOST:PORT, that are asked for names which are not this server's to answer, one after the
	// other until one answers; without any, such names are refused.
	Forward []string
	// ForwardTimeout is how long to wait for each of them. The default is 2 s.
	ForwardTimeout time.Duration
	// Logger gets what an operator should know; by default nothing is logged.
	Logger *slog.Logger
}

// ttlSecondsMax is the longest TTL (RFC 2181 section 8).
const ttlSecondsMax = 1<<31 - 1

// domainBytesMax leaves room in 255 bytes (RFC 1035 section 3.1) for three labels of 63 bytes and "instance".
const domainBytesMax = 255 - 3*64 - len("\x08instance")

func (c Config) withDefaults() Config {
	if c.Domain == "" {
		c.Domain = "rollcall.internal"
	}
	if c.Address == "" {
		c.Address = "127.0.0.1:7653"
	}
	if c.UDPBytesMax == 0 {
		c.UDPBytesMax = 1232
	}
	if c.TCPConnectionsMax == 0 {
		c.TCPConnectionsMax = 1024
	}
	if c.TCPIdleTimeout == 0 {
		c.TCPIdleTimeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate tells all that is wrong with a configuration, taking zero fields for their defaults.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	if c.View == nil {
		faults = append(faults, errors.New("dns: no view to answer from"))
	}
	if _, err := domainWire(c.Domain); err != nil {
		faults = append(faults, err)
	}
	for _, ttl := range []time.Duration{c.TTL, c.NegativeTTL} {
		if ttl < 0 || ttl > ttlSecondsMax*time.Second {
			faults = append(faults, fmt.Errorf("dns: TTL %s: 0 to %d seconds", ttl, ttlSecondsMax))
		}
	}
	if c.UDPBytesMax < minimumBytes || c.UDPBytesMax > messageBytesMax {
		faults = append(faults, fmt.Errorf("dns: replies of %d bytes by UDP: %d to %d", c.UDPBytesMax, minimumBytes, messageBytesMax))
	}
	if c.TCPConnectionsMax < 0 || c.TCPIdleTimeout < 0 {
		faults = append(faults, fmt.Errorf("dns: %d TCP connections, idle for %s: neither may be negative", c.TCPConnectionsMax, c.TCPIdleTimeout))
	}
	if len(c.Forward) > forwardServersMax {
		faults = append(faults, fmt.Errorf("dns: %d servers to forward to: at most %d", len(c.Forward), forwardServersMax))
	}
	for _, server := range c.Forward {
		faults = append(faults, validateForward(server, c.Address))
	}
	if c.ForwardTimeout < 0 {
		faults = append(faults, fmt.Errorf("dns: forward timeout %s: not below zero", c.ForwardTimeout))
	}
	return errors.Join(faults...)
}

// domainWire is a domain as it stands in a message, in lower case.
func domainWire(domain string) ([]byte, error) {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(domain, "."), ".") {
		if !event.IsDNSLabel(label) {
			return nil, fmt.Errorf("dns: domain %q: %q is no label; use letters, digits and hyphens, as in rollcall.internal", domain, label)
		}
		wire = appendLabel(wire, strings.ToLower(label))
	}
	wire = append(wire, 0)
	if len(wire) > domainBytesMax {
		return nil, fmt.Errorf("dns: domain %q takes %d bytes; at most %d leave room for the names below it", domain, len(wire), domainBytesMax)
	}
	return wire, nil
}
