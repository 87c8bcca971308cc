package bumpless

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type leavingKey struct{}

// Leaving is closed when a stream shall end so that its client reconnects: at a random moment of the drain. A handler
// that answers text/event-stream, or has hijacked the connection, watches it. Farewell is what to send then.
func Leaving(ctx context.Context) <-chan struct{} {
	if stream, ok := ctx.Value(leavingKey{}).(*exchange); ok {
		return stream.leave
	}
	return nil // never
}

// Farewell is the last event of an event stream: the client waits a random while and reconnects.
func Farewell() string {
	return fmt.Sprintf("retry: %d\nevent: reconnect\ndata:\n\n", 50+rand.Intn(950))
}

// RestartCode is the WebSocket close code "service restart", to be sent when Leaving is closed.
const RestartCode = 1012

// endpoint serves one handler on shared listeners.
type endpoint struct {
	server      http.Server
	gates       []*gate
	tls         *tls.Config
	service     *Service
	inflight    int64
	accepting   int32
	mu          sync.Mutex
	connections map[net.Conn]http.ConnState
	streams     map[*exchange]struct{}
	spread      time.Duration
	telling     bool
	served      sync.WaitGroup
}

func newEndpoint(s *Service, handler http.Handler, config *tls.Config, listeners []net.Listener) (*endpoint, error) {
	e := &endpoint{service: s, tls: config, connections: map[net.Conn]http.ConnState{}, streams: map[*exchange]struct{}{}}
	e.server.Handler = e.wrap(handler)
	e.server.ReadHeaderTimeout = 30 * time.Second
	e.server.IdleTimeout = 75 * time.Second
	e.server.ConnState = e.connState
	for _, inner := range listeners {
		g, err := newGate(inner)
		if err != nil {
			return nil, err
		}
		e.gates = append(e.gates, g)
		outer := net.Listener(g)
		if config != nil {
			outer = tls.NewListener(g, config)
		}
		e.served.Add(1)
		go func() {
			defer e.served.Done()
			_ = e.server.Serve(outer) // returns when the gate is closed
		}()
	}
	return e, nil
}

func (e *endpoint) accept(on bool) {
	value := int32(0)
	if on {
		value = 1
	}
	atomic.StoreInt32(&e.accepting, value)
	for _, g := range e.gates {
		g.set(on)
	}
}

func (e *endpoint) connState(conn net.Conn, state http.ConnState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch state {
	case http.StateClosed:
		delete(e.connections, conn)
	case http.StateHijacked:
		delete(e.connections, conn) // counted as a stream until its handler returns
	default:
		e.connections[conn] = state
	}
}

func (e *endpoint) count() (connections, streams int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	hijacked := 0
	for stream := range e.streams {
		if stream.hijacked != nil {
			hijacked++
		}
	}
	return len(e.connections) + hijacked, len(e.streams)
}

// tellStreams lets every stream, also one that begins later, leave at a random moment within spread.
func (e *endpoint) tellStreams(spread time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.telling, e.spread = true, spread
	for stream := range e.streams {
		stream.leaveWithin(spread)
	}
}

// closeIdle closes connections that wait for a request. Shutdown would wait for those that never sent one.
func (e *endpoint) closeIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for conn, state := range e.connections {
		if state == http.StateNew || state == http.StateIdle {
			_ = conn.Close()
		}
	}
}

func (e *endpoint) abort() int {
	left, _ := e.count()
	e.mu.Lock()
	for stream := range e.streams {
		if stream.hijacked != nil {
			stream.hijacked.Close()
		}
	}
	e.mu.Unlock()
	_ = e.server.Close()
	return left
}

func (e *endpoint) wrap(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		x := &exchange{ResponseWriter: w, endpoint: e, leave: make(chan struct{}), began: began, method: r.Method}
		atomic.AddInt64(&e.inflight, 1)
		defer x.end()
		handler.ServeHTTP(x, r.WithContext(context.WithValue(r.Context(), leavingKey{}, x)))
	})
}

// exchange is one request and its answer. The word that the connection ends is put in when the head is written.
type exchange struct {
	http.ResponseWriter
	endpoint *endpoint
	leave    chan struct{}
	told     sync.Once
	began    time.Time
	method   string
	status   int
	stream   bool
	hijacked net.Conn
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
		if atomic.LoadInt32(&x.endpoint.accepting) == 0 {
			x.Header().Set("Connection", "close")
		}
		if strings.HasPrefix(x.Header().Get("Content-Type"), "text/event-stream") {
			x.begin(nil)
		}
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(data []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(data)
}

// Flush implements http.Flusher.
func (x *exchange) Flush() {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if flusher, ok := x.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
}

// Hijack implements http.Hijacker. The connection counts as a stream until the handler returns.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	hijacker, ok := x.ResponseWriter.(http.Hijacker)
	if !ok {
		return nil, nil, fmt.Errorf("expected a connection that can be hijacked, found %T", x.ResponseWriter)
	}
	conn, rw, err := hijacker.Hijack()
	if err == nil {
		x.status = http.StatusSwitchingProtocols
		x.begin(conn)
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *exchange) begin(hijacked net.Conn) {
	e := x.endpoint
	x.answered()
	atomic.AddInt64(&e.inflight, -1)
	e.mu.Lock()
	defer e.mu.Unlock()
	x.stream, x.hijacked = true, hijacked
	e.streams[x] = struct{}{}
	if e.telling {
		x.leaveWithin(e.spread)
	}
}

func (x *exchange) end() {
	if !x.stream {
		if x.status == 0 {
			x.WriteHeader(http.StatusOK)
		}
		if x.stream { // an event stream without an event
			x.end()
			return
		}
		x.answered()
		atomic.AddInt64(&x.endpoint.inflight, -1)
		return
	}
	x.endpoint.mu.Lock()
	defer x.endpoint.mu.Unlock()
	delete(x.endpoint.streams, x)
}

func (x *exchange) answered() {
	x.endpoint.service.observe(x.method, x.status, time.Since(x.began).Seconds())
}

func (x *exchange) leaveWithin(spread time.Duration) {
	wait := time.Duration(0)
	if spread > 0 {
		wait = time.Duration(rand.Int63n(int64(spread)))
	}
	time.AfterFunc(wait, func() { x.told.Do(func() { close(x.leave) }) })
}
