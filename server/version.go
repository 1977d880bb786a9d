package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/rollcall/rollcall/commands"
	"github.com/rollcall/rollcall/gateway"
	"github.com/rollcall/rollcall/log/event"
)

// Commands are written for the cluster's version of the decisions, as this server knows it from _system's ledger: one
// that lags behind writes for an older one, which every binary decides. A server says at its start which version it
// knows, and has the cluster come to the one that all of them know.

func errTooOld(data string, version uint32) error {
	return fmt.Errorf("the cluster of %s has come to version %d of the decisions, and this binary knows up to %d: start a newer one", data, version, commands.Version)
}

// checkVersion refuses what the servers of the cluster do not all know yet.
func (s *Server) checkVersion(r gateway.Request) error {
	if r.Key != "" {
		if rejection := commands.ValidateKeyOf(r.Key); rejection != nil {
			return rejection
		}
		if err := s.reached(commands.VersionKeys, "idempotency keys need"); err != nil {
			return err
		}
	}
	return s.reached(commands.Since(r.Command), "this request needs")
}

func (s *Server) reached(since uint32, who string) error {
	if v := s.version.Load(); v < since {
		return gateway.NewProblem(gateway.CodeVersionNotReached,
			"the cluster is at version %d of the decisions, and %s %d, to which it comes when every server has a binary that knows it", v, who, since)
	}
	return nil
}

// learnVersion takes the cluster's version from _system's ledger as this server has it, and notes it in the data folder,
// so that an older binary refuses the folder before it touches it.
func (s *Server) learnVersion() error {
	var version uint32
	err := s.stale(event.System, func(v gateway.View) error {
		version = v.ClusterVersion()
		return nil
	})
	if err != nil {
		return err
	}
	if version > commands.Version {
		return errTooOld(s.config.Data, version)
	}
	if err := s.noteVersion(version); err != nil {
		return err
	}
	s.version.Store(version)
	return nil
}

// noteVersion remembers a version of the cluster in the data folder. Several parts of the server hear of one at the same
// time: they write one after the other, so that the file ends with the highest.
func (s *Server) noteVersion(version uint32) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	id := s.identity
	news := version > id.Version
	if news {
		id.Version, s.identity.Version = version, version
	}
	s.mu.Unlock()
	if !news {
		return nil
	}
	if err := id.write(s.config.Data); err != nil {
		return err
	}
	s.config.Logger.Info("the cluster has come to a version of the decisions", "version", version)
	return nil
}

// raiseVersion says which version this binary knows, and has the cluster come to the highest that all of them know.
func (s *Server) raiseVersion(ctx context.Context) error {
	var own event.Member
	lowest := uint32(math.MaxUint32)
	err := s.stale(event.System, func(v gateway.View) error {
		for m := range v.Members() {
			if m.Replica == s.identity.Replica {
				own, m.Version = m, commands.Version
			}
			if m.Nonce != "" {
				lowest = min(lowest, max(m.Version, commands.VersionFirst))
			}
		}
		return nil
	})
	if err != nil || own.Name == "" {
		return err // it was removed, or has not heard of itself yet
	}
	for _, c := range []commands.Command{
		commands.AnnounceVersion{Name: own.Name, Replica: own.Replica, Version: commands.Version},
		commands.SetClusterVersion{Version: lowest},
	} {
		var refused *commands.Rejection
		// A refusal says that others have changed meanwhile, and they see to it.
		if _, err := s.submit(ctx, systemGroup, event.System, gateway.Request{Command: c}); err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	return s.learnVersion()
}

// followVersion is told that _system's ledger may say something new about versions. The leader's server sees to it that
// the cluster goes on to what all know now.
func (s *Server) followVersion(ctx context.Context) {
	err := s.learnVersion()
	if err == nil && s.log.Leader(systemGroup) == s.identity.Replica {
		attempt, cancel := context.WithTimeout(ctx, time.Duration(s.config.RequestTimeout))
		defer cancel()
		err = s.raiseVersion(attempt)
	}
	if err != nil && ctx.Err() == nil {
		s.config.Logger.Warn("cannot follow the cluster's version", "error", err)
	}
}
