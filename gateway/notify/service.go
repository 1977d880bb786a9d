package notify

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/rollcall/rollcall/gateway"
)

const (
	serviceName        = "rollcall"
	serviceDescription = "Configuration, services, sessions: every operation of /openapi.json, with the same JSON"
)

// service says what there is and how it does, to whoever asks on "$SRV." (NATS ADR-32): `nats micro ls`, info and stats.
type service struct {
	identity micro.ServiceIdentity
	started  time.Time

	mu        sync.Mutex
	endpoints []*micro.EndpointStats
	byName    map[string]*micro.EndpointStats // by the operation
}

func newService(operations []string, version string) *service {
	s := &service{
		identity: micro.ServiceIdentity{Name: serviceName, ID: rand.Text(), Version: semantic(version), Metadata: map[string]string{}},
		started:  time.Now().UTC(), byName: map[string]*micro.EndpointStats{},
	}
	for _, operation := range operations {
		e := &micro.EndpointStats{
			Name: strings.ReplaceAll(operation, ".", "-"), Subject: doorPrefix + "*." + operation, QueueGroup: micro.DefaultQueueGroup,
		}
		s.endpoints, s.byName[operation] = append(s.endpoints, e), e
	}
	return s
}

var semanticVersion = regexp.MustCompile(`^v?((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)$`)

// semantic is a version as the service may have one.
func semantic(version string) string {
	if m := semanticVersion.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return "0.0.0"
}

// subscribe answers on the subjects of the protocol: all services, those of this name, this very one.
func (s *service) subscribe(conn *nats.Conn, answerable func(*nats.Msg) bool) error {
	for verb, answer := range map[micro.Verb]func() any{micro.PingVerb: s.ping, micro.InfoVerb: s.info, micro.StatsVerb: s.stats} {
		for _, of := range [][2]string{{"", ""}, {s.identity.Name, ""}, {s.identity.Name, s.identity.ID}} {
			subject, err := micro.ControlSubject(verb, of[0], of[1])
			if err == nil {
				_, err = conn.Subscribe(subject, func(m *nats.Msg) {
					if answerable(m) {
						_ = respond(conn, m.Reply, answer()) // the connection is closed
					}
				})
			}
			if err != nil {
				return fmt.Errorf("answer what the service is: %w", err)
			}
		}
	}
	return nil
}

func respond(conn *nats.Conn, to string, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return conn.Publish(to, body)
}

func (s *service) ping() any {
	return micro.Ping{ServiceIdentity: s.identity, Type: micro.PingResponseType}
}

func (s *service) info() any {
	info := micro.Info{ServiceIdentity: s.identity, Type: micro.InfoResponseType, Description: serviceDescription}
	for _, e := range s.endpoints {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{Name: e.Name, Subject: e.Subject, QueueGroup: e.QueueGroup})
	}
	return info
}

func (s *service) stats() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := micro.Stats{ServiceIdentity: s.identity, Type: micro.StatsResponseType, Started: s.started}
	for _, e := range s.endpoints {
		now := *e
		stats.Endpoints = append(stats.Endpoints, &now)
	}
	return stats
}

// count counts a request that is over. Those for which there is no operation have no line.
func (s *service) count(operation string, p *gateway.Problem, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byName[operation]
	if e == nil {
		return
	}
	e.NumRequests++
	e.ProcessingTime += took
	e.AverageProcessingTime = e.ProcessingTime / time.Duration(e.NumRequests)
	if p != nil {
		e.NumErrors++
		e.LastError = fmt.Sprintf("%d: %s", p.Status, p.Code)
	}
}
