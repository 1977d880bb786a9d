// Command lookup asks a DNS server, for machines that have no dig.
//
// It prints what "dig +short" would, sorted, and nothing where there is no answer. It is for the demo alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: lookup HOST:PORT A|AAAA|SRV|TXT NAME")
		os.Exit(2)
	}
	answers, err := lookup(os.Args[1], os.Args[2], strings.TrimSuffix(os.Args[3], ".")+".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "lookup:", err)
		os.Exit(1)
	}
	slices.Sort(answers)
	for _, a := range answers {
		fmt.Println(a)
	}
}

func lookup(server, kind, name string) (answers []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	switch kind {
	case "A", "AAAA":
		addresses, err := r.LookupNetIP(ctx, map[string]string{"A": "ip4", "AAAA": "ip6"}[kind], name)
		for _, a := range addresses {
			answers = append(answers, a.Unmap().String())
		}
		return answers, orNothing(err)
	case "SRV":
		_, records, err := r.LookupSRV(ctx, "", "", name)
		for _, s := range records {
			answers = append(answers, fmt.Sprintf("%d %d %d %s", s.Priority, s.Weight, s.Port, s.Target))
		}
		return answers, orNothing(err)
	case "TXT":
		answers, err = r.LookupTXT(ctx, name)
		return answers, orNothing(err)
	}
	return nil, fmt.Errorf("type %q: A, AAAA, SRV and TXT are known", kind)
}

// orNothing takes a name without an answer for no fault.
func orNothing(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil
	}
	return err
}
