// Package chaos runs clusters of real server processes on loopback, breaks them while clients work, and holds what the
// clients and subscribers saw to named guarantees (package check). README.md lists the faults and the guarantees.
//
// The servers are built with the tag "faults" (package fault). Everything random comes from one seed, which is printed.
// It has tests only, and knows the servers from outside alone.
package chaos
