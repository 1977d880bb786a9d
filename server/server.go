// Package server is one running Rollcall server: the one place that knows every part and ties them together.
//
// The binary and the end-to-end tests build the same Server from the same Config, so that they share all wiring.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rollcall/rollcall/log"
	"github.com/rollcall/rollcall/log/event"
)

// Server is a running server. Its exported methods may be called concurrently.
type Server struct {
	config    Config
	identity  identity
	cluster   string
	log       *log.Log
	placement *placement
	endpoints Endpoints

	stop context.CancelFunc // ends everything that follows a ledger
	wg   sync.WaitGroup
}

// Start starts a server and returns when it is ready for requests, or why it cannot be. Close it after use.
func Start(ctx context.Context, c Config) (*Server, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the host's name: %w", err)
	}
	c.setDefaults(hostname)
	if err := c.Validate(); err != nil {
		return nil, err
	}
	id, err := identify(&c)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, identity: id, cluster: id.Cluster, placement: newPlacement()}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	_ = os.Remove(filepath.Join(s.config.Data, endpointsFile)) // it says that the server is ready, which it is not
	var err error
	s.log, err = log.Open(log.Config{
		Dir: s.config.Data, Address: s.identity.Raft, Replica: s.identity.Replica, Groups: s.identity.Groups,
		Tick: time.Duration(s.config.Tick), Logger: s.config.Logger,
	}, Domain{})
	if err != nil {
		return err
	}
	if err := s.log.WaitReady(ctx); err != nil {
		return fmt.Errorf("wait for the groups' leaders: %w", err)
	}
	return s.bootstrap(ctx)
}

// admit has the views of a namespace follow its ledger, once.
func (s *Server) admit(namespace string, group uint64) error {
	s.placement.set(namespace, group)
	return nil
}

// Close stops the server: no new requests, then the followers, then Raft.
func (s *Server) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.wg.Wait()
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return err
}

var _ = event.System
