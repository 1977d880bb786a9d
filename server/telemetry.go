package server

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rollcall/rollcall/log/event"
)

// handler is what the HTTP listener serves: the API, and what operators ask of any server.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { healthy(w, "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { s.readyz(w) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	// The door routes by itself, on the path as it was sent: the mux would clean it, and keys may hold "//" or "..".
	gate := s.quarantineGate(s.door)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez", "/readyz", "/metrics":
			mux.ServeHTTP(w, r)
		default:
			gate.ServeHTTP(w, r)
		}
	})
}

func (s *Server) readyz(w http.ResponseWriter) {
	q := s.quarantined.Load()
	switch {
	case q != nil:
		healthy(w, fmt.Sprintf("quarantined: %s; %s", q, q.remedy()))
	case !s.Ready():
		healthy(w, "not ready: a group has no leader, or a view is not up to date yet")
	default:
		healthy(w, "")
	}
}

// healthy says that all is well, or what is not.
func healthy(w http.ResponseWriter, trouble string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	text := "ok\n"
	if trouble != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = trouble + "\n"
	}
	_, _ = w.Write([]byte(text)) // who asked is gone; there is nobody to tell
}

// metrics are what /metrics shows. They have a registry of their own, so that tests can run several servers.
type metrics struct {
	server   *Server
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	calls    *prometheus.HistogramVec
	damaged  *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		server:   s,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rollcall_http_request_duration_seconds",
			Help:    "Time from a request's arrival to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"operation", "status"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rollcall_nats_request_duration_seconds",
			Help:    "Time from when a request over NATS was taken to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"operation", "status"}),
		damaged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_state_damaged_total",
			Help: "Times that what is stored of a namespace was found not to be what was written.",
		}, []string{"namespace"}),
	}
	m.registry.MustRegister(m.requests, m.calls, m.damaged, m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// request is told about every request that the API has answered.
func (m *metrics) request(operation string, status int, took time.Duration) {
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
}

// call is told the same about requests that came over NATS.
func (m *metrics) call(operation string, status int, took time.Duration) {
	m.calls.WithLabelValues(operation, strconv.Itoa(status)).Observe(took.Seconds())
}

var (
	descRevision = prometheus.NewDesc("rollcall_ledger_revision", "Last revision that this server has applied.", []string{"namespace"}, nil)
	descNames    = prometheus.NewDesc("rollcall_dns_revision", "Revision that DNS answers show.", []string{"namespace"}, nil)
	descLeader   = prometheus.NewDesc("rollcall_ready", "1 while every group has a leader and every view has caught up.", nil, nil)
	descLeads    = prometheus.NewDesc("rollcall_raft_leads", "1 while this server leads the group.", []string{"group"}, nil)
	descLeases   = prometheus.NewDesc("rollcall_leases", "Sessions, and keys and directories with a TTL, that this server keeps the time of.", nil, nil)
	descChecks   = prometheus.NewDesc("rollcall_checks", "Checks of instances whose targets this server looks at.", nil, nil)
	descLooks    = prometheus.NewDesc("rollcall_check_looks_total", "Looks at targets of checks by what they found.", []string{"result"}, nil)
	descHeld     = prometheus.NewDesc("rollcall_checks_held", "Checks that fail here without being reported, because this server takes that for a fault of its own.", nil, nil)
	descSuspect  = prometheus.NewDesc("rollcall_checks_suspect", "1 while most checks failed at once here, and this server takes that for a fault of its own.", nil, nil)
	descElected  = prometheus.NewDesc("rollcall_raft_elections_total", "Elections of a leader of the group that this server has learnt of.", []string{"group"}, nil)
	descPushed   = prometheus.NewDesc("rollcall_nats_events_total", "Events pushed to the NATS stream.", []string{"namespace"}, nil)
	descLag      = prometheus.NewDesc("rollcall_nats_lag_events", "Events that the NATS stream is behind the ledger.", []string{"namespace"}, nil)
	descResyncs  = prometheus.NewDesc("rollcall_nats_resyncs_total", "Times that a stream had to be taken up again.", []string{"namespace"}, nil)
	descClients  = prometheus.NewDesc("rollcall_nats_clients", "Connected NATS clients.", nil, nil)
	descRefused  = prometheus.NewDesc("rollcall_nats_requests_refused_total", "Requests over NATS that were refused because too many were under way.", nil, nil)
	descNowhere  = prometheus.NewDesc("rollcall_nats_requests_unanswerable_total", "Requests over NATS that were not carried out because their answer had no inbox to go to.", nil, nil)
	descLost     = prometheus.NewDesc("rollcall_nats_requests_lost_total", "Requests over NATS that were dropped because too many waited to be looked at.", nil, nil)
	descQueries  = prometheus.NewDesc("rollcall_dns_queries_total", "DNS messages received.", []string{"transport"}, nil)
	descReplies  = prometheus.NewDesc("rollcall_dns_replies_total", "DNS replies by response code.", []string{"rcode"}, nil)
	descDropped  = prometheus.NewDesc("rollcall_dns_dropped_total", "DNS messages that got no reply.", nil, nil)
	descCompared = prometheus.NewDesc("rollcall_state_compared_revision", "Last revision at which other servers had the same state.", []string{"namespace"}, nil)
	descDiffers  = prometheus.NewDesc("rollcall_state_differs", "1 while another server has another state at the same revision.", []string{"namespace"}, nil)
	descApart    = prometheus.NewDesc("rollcall_quarantined", "1 while the server does not answer because its state cannot be trusted.", nil, nil)
	descKeys     = prometheus.NewDesc("rollcall_namespace_keys", "Keys that the namespace holds.", []string{"namespace"}, nil)
	descBytes    = prometheus.NewDesc("rollcall_namespace_bytes", "Bytes of keys and values that the namespace holds.", []string{"namespace"}, nil)
	descFloor    = prometheus.NewDesc("rollcall_namespace_kept_from", "Oldest revision whose state is kept; 0 where all are.", []string{"namespace"}, nil)
	descTrimmed  = prometheus.NewDesc("rollcall_trimmed_versions_total", "Old versions of rows that this server, or the one that it got its state from, has deleted.", []string{"namespace"}, nil)
	descCut      = prometheus.NewDesc("rollcall_dns_truncated_total", "DNS replies with the TC bit.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRevision, descNames, descLeader, descPushed, descLag, descResyncs, descClients, descQueries, descReplies, descDropped, descCut,
		descCompared, descDiffers, descApart, descLeads, descElected, descLeases,
		descCompared, descDiffers, descApart, descLeads, descElected,
		descKeys, descBytes, descFloor, descTrimmed,
		descChecks, descLooks, descHeld, descSuspect, descRefused, descNowhere, descLost,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector: it asks the parts when somebody wants to know, so that counting costs
// nothing otherwise.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := m.server
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge(descLeader, flag(s.Ready()))
	for _, group := range s.log.Groups() {
		id := strconv.FormatUint(group, 10)
		gauge(descLeads, flag(s.log.Leader(group) == s.identity.Replica), id)
		counter(descElected, s.log.Elections(group), id)
	}
	for _, namespace := range s.Namespaces() {
		if head, err := s.Head(namespace); err == nil {
			gauge(descRevision, float64(head), namespace)
		}
		s.collectRetention(namespace, gauge, counter)
		if view := s.names.Namespace([]byte(namespace)); view != nil {
			gauge(descNames, float64(view.Revision()), namespace)
		}
	}
	for namespace, c := range s.compares.results() {
		gauge(descCompared, float64(c.revision), namespace)
		gauge(descDiffers, flag(c.differs), namespace)
	}
	gauge(descLeases, float64(s.keeper.Leases()))
	checks := s.checker.Counts()
	gauge(descChecks, float64(checks.Targets))
	for _, status := range []event.Status{event.Passing, event.Warning, event.Critical} {
		counter(descLooks, checks.Looks[status], status.String())
	}
	gauge(descHeld, float64(checks.Held))
	gauge(descSuspect, flag(checks.Suspect))
	gauge(descApart, flag(s.quarantined.Load() != nil))
	nats := s.notify.Stats()
	gauge(descClients, float64(nats.Clients))
	counter(descRefused, nats.Refused)
	counter(descNowhere, nats.Unanswerable)
	counter(descLost, nats.Lost)
	for _, n := range nats.Namespaces {
		counter(descPushed, n.Events, n.Namespace)
		gauge(descLag, float64(n.Lag), n.Namespace)
		counter(descResyncs, n.Resyncs, n.Namespace)
	}
	dns := s.dns.Stats()
	counter(descQueries, dns.UDPQueries, "udp")
	counter(descQueries, dns.TCPQueries, "tcp")
	for rcode, n := range dns.Replies {
		counter(descReplies, n, rcode)
	}
	counter(descDropped, dns.Dropped)
	counter(descCut, dns.Truncated)
}
