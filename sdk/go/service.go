package bumpless

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	acceptSettle  = 50 * time.Millisecond // between the last accept and closing our descriptor
	longestSpread = 5 * time.Second       // over which streams are told to reconnect
	look          = 10 * time.Millisecond
)

// Service is one managed process. Declare, then Run. OnReady runs before anything is accepted, OnStop after the last
// request; a Health function that returns an error makes /healthz answer 503. With Save and Restore, state goes to the next
// process of a component that runs once at a time.
type Service struct {
	Name     string
	Contract Contract
	OnReady  func(context.Context) error
	OnStop   func()
	Health   func() error
	// Save gives the state after the last request; Restore is given what the process before left, if it left anything.
	Save    func() ([]byte, error)
	Restore func(Handover) error

	declared  []declared
	endpoints []*endpoint
	packets   []*packets
	counters  []*Counter
	requests  *Counter
	durations durations
	turn      sync.Mutex // one pause or resume at a time
	mu        sync.Mutex
	state     string
	outcome   string // what became of the state that was left
	active    bool
	pausedAt  time.Time
}

type declared struct {
	name, place string
	handler     http.Handler
	tls         *tls.Config
	datagram    func(data []byte, from net.Addr) []byte
}

// New reads the contract of this process.
func New(name string) (*Service, error) {
	contract, err := ReadContract()
	if err != nil {
		return nil, err
	}
	if contract.Version == "" {
		contract.Version = "dev"
	}
	rand.Seed(time.Now().UnixNano() ^ int64(os.Getpid())) // before Go 1.20 every process draws the same numbers
	s := &Service{Name: name, Contract: contract, state: "starting", outcome: "not taken yet"}
	s.durations.counts = make([]uint64, len(buckets))
	s.requests = s.Counter("http_requests_total", "Requests answered.", "method", "status")
	return s, nil
}

// HTTP serves handler on the inherited sockets called name; by hand, on the address place. config may be nil.
func (s *Service) HTTP(name, place string, handler http.Handler, config *tls.Config) {
	s.declared = append(s.declared, declared{name: name, place: place, handler: handler, tls: config})
}

// Datagrams answers datagrams on the inherited sockets called name; nil is no answer.
func (s *Service) Datagrams(name, place string, answer func(data []byte, from net.Addr) []byte) {
	s.declared = append(s.declared, declared{name: name, place: place, datagram: answer})
}

// Counter declares a metric.
func (s *Service) Counter(name, help string, labels ...string) *Counter {
	counter := &Counter{name: name, help: help, labels: labels, values: map[string]float64{}}
	s.counters = append(s.counters, counter)
	return counter
}

// Draining is true from SIGTERM on.
func (s *Service) Draining() bool { return s.now() == "draining" }

// Run serves until SIGTERM or SIGINT and returns once drained.
func (s *Service) Run() error {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	if err := s.open(); err != nil {
		return err
	}
	if err := s.administer(); err != nil {
		return err
	}
	if s.OnReady != nil {
		done := make(chan error, 1)
		go func() { done <- s.OnReady(stop) }()
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-stop.Done():
			return nil
		}
	}
	if s.Contract.Standby {
		s.set("standby")
	} else if err := s.resume(); err != nil {
		return err
	}
	s.Contract.notify("READY=1", fmt.Sprintf("STATUS=%s %s is %s", s.Name, s.Contract.Version, s.now()))
	<-stop.Done()
	s.turn.Lock()
	defer s.turn.Unlock()
	s.drain()
	err := s.leave()
	if s.OnStop != nil {
		s.OnStop()
	}
	return err
}

func (s *Service) open() error {
	for _, d := range s.declared {
		fds := s.Contract.Descriptors[d.name]
		if s.Contract.Managed && len(fds) == 0 {
			return fmt.Errorf("expected a socket named %s in LISTEN_FDNAMES, found %v", d.name, s.Contract.Descriptors)
		}
		if d.datagram != nil {
			p, err := openPackets(s, d, fds)
			if err != nil {
				return err
			}
			s.packets = append(s.packets, p)
			continue
		}
		var listeners []net.Listener
		for _, fd := range fds {
			inner, err := inheritedListener(fd, d.name)
			if err != nil {
				return err
			}
			listeners = append(listeners, inner)
		}
		if len(fds) == 0 {
			inner, err := net.Listen("tcp", d.place)
			if err != nil {
				return err
			}
			listeners = append(listeners, inner)
		}
		e, err := newEndpoint(s, d.handler, d.tls, listeners)
		if err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, e)
	}
	return nil
}

func (s *Service) pause() {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.now() != "serving" {
		return
	}
	s.accept(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.pausedAt = "paused", time.Now()
}

func (s *Service) resume() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if !s.active {
		if err := s.takeOver(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if s.state == "draining" {
		s.mu.Unlock()
		return errors.New("the process drains")
	}
	s.active, s.state, s.pausedAt = true, "serving", time.Time{}
	s.mu.Unlock()
	s.accept(true)
	return nil
}

func (s *Service) accept(on bool) {
	for _, e := range s.endpoints {
		e.accept(on)
	}
	for _, p := range s.packets {
		p.set(on)
	}
}

func (s *Service) drain() {
	began := time.Now()
	deadline := began.Add(s.Contract.DrainTimeout)
	s.mu.Lock()
	lameUntil := began.Add(s.Contract.LameDuck)
	if !s.pausedAt.IsZero() {
		lameUntil = s.pausedAt.Add(s.Contract.LameDuck)
	}
	s.state = "draining"
	s.mu.Unlock()
	s.Contract.notify("STOPPING=1", fmt.Sprintf("STATUS=%s %s drains", s.Name, s.Contract.Version))
	s.accept(false)
	spread := s.Contract.DrainTimeout / 4
	if spread > longestSpread {
		spread = longestSpread
	}
	for _, e := range s.endpoints {
		e.tellStreams(spread)
	}
	time.Sleep(acceptSettle)
	for _, e := range s.endpoints {
		for _, g := range e.gates {
			_ = g.Close()
		}
	}
	if lameUntil.After(deadline) {
		lameUntil = deadline
	}
	for time.Now().Before(lameUntil) && s.connections() > 0 {
		time.Sleep(look)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for _, e := range s.endpoints {
		e.closeIdle()
		_ = e.server.Shutdown(ctx) // closes idle connections, waits for requests and event streams
	}
	for time.Now().Before(deadline) && (s.connections() > 0 || s.inflight() > 0) {
		time.Sleep(look) // hijacked ones
	}
	cut := 0
	for _, e := range s.endpoints {
		cut += e.abort()
	}
	for _, p := range s.packets {
		p.close()
	}
	if cut > 0 {
		log.Printf("drain deadline reached: cut %d connections", cut)
		s.Contract.notify(fmt.Sprintf("STATUS=drain deadline reached, %d cut", cut))
	}
}

func (s *Service) administer() error {
	var listener net.Listener
	var err error
	if fds := s.Contract.Descriptors["admin"]; len(fds) > 0 {
		listener, err = inheritedListener(fds[0], "admin")
	} else {
		path := filepath.Join(s.Contract.StateDir, s.Name+"-admin.sock")
		if err := os.MkdirAll(s.Contract.StateDir, 0o700); err != nil {
			return err
		}
		_ = os.Remove(path)
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(s.admin)) }()
	return nil
}

func (s *Service) admin(w http.ResponseWriter, r *http.Request) {
	methods := map[string]string{
		"/healthz": "GET", "/readyz": "GET", "/metrics": "GET", "/drain": "GET", "/pause": "POST", "/resume": "POST",
	}
	switch wanted, known := methods[r.URL.Path]; {
	case !known:
		http.Error(w, "not found", http.StatusNotFound)
	case wanted != r.Method:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprint(w, s.metrics())
	case r.URL.Path == "/drain":
		s.progress(w, http.StatusOK)
	case r.URL.Path == "/healthz":
		s.verdict(w, "")
	case r.URL.Path == "/readyz":
		state := s.now()
		if state == "serving" {
			state = ""
		}
		s.verdict(w, state)
	default:
		s.move(w, r.URL.Path == "/resume")
	}
}

func (s *Service) move(w http.ResponseWriter, on bool) {
	if state := s.now(); state == "starting" || state == "draining" {
		s.progress(w, http.StatusConflict)
		return
	}
	if !on {
		s.pause()
	} else if err := s.resume(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.progress(w, http.StatusOK)
}

func (s *Service) verdict(w http.ResponseWriter, reason string) {
	if reason == "" && s.Health != nil {
		if err := s.Health(); err != nil {
			reason = err.Error()
		}
	}
	if reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *Service) progress(w http.ResponseWriter, status int) {
	streams := 0
	for _, e := range s.endpoints {
		_, more := e.count()
		streams += more
	}
	s.mu.Lock()
	state, outcome := s.state, s.outcome
	s.mu.Unlock()
	found := map[string]any{
		"inflight": s.inflight(), "streams": streams, "connections": s.connections(), "unacknowledged": 0,
		"paused": state == "paused" || state == "standby", "state": state, "handover": outcome,
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(found)
}

func (s *Service) metrics() string {
	var out strings.Builder
	gauge(&out, "process_start_time_seconds", "When the process started.", "", float64(started.UnixNano())/1e9)
	gauge(&out, "inflight_requests", "Requests and datagrams being answered.", "", float64(s.inflight()))
	labels := series([]string{"version", "digest"}, []string{s.Contract.Version, s.Contract.Digest})
	gauge(&out, "release_info", "The release this process runs.", labels, 1)
	for _, counter := range s.counters {
		counter.expose(&out)
	}
	s.durations.expose(&out, "http_request_duration_seconds")
	return out.String()
}

func (s *Service) observe(method string, status int, seconds float64) {
	s.requests.Inc(method, strconv.Itoa(status))
	s.durations.observe(seconds)
}

func (s *Service) inflight() int {
	total := 0
	for _, e := range s.endpoints {
		total += int(atomic.LoadInt64(&e.inflight))
	}
	for _, p := range s.packets {
		total += int(atomic.LoadInt64(&p.answering))
	}
	return total
}

func (s *Service) connections() int {
	total := 0
	for _, e := range s.endpoints {
		connections, _ := e.count()
		total += connections
	}
	return total
}

func (s *Service) now() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Service) set(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}
