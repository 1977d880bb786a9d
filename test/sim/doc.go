// Package sim runs clusters in virtual time: several servers' logs in one testing/synctest bubble, with the real state
// machine, over a network that loses, delays and cuts, on disks that lose what was not synced. Hours of a cluster's life
// take seconds. Package check judges what clients saw. It has tests only.
//
// It does not know the doors, nor package server but for its Domain: those have sockets, which a bubble does not.
package sim
