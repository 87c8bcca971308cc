// A net/http service under the service contract: answers, waits, streams, and keeps a count that is handed over.
// By hand: go run ./sample, then curl http://127.0.0.1:8080/
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"bumpless"
)

func main() {
	service, err := bumpless.New("go-sample")
	if err != nil {
		log.Fatal(err)
	}
	version := service.Contract.Version
	var count, broken int64

	reply := func(w http.ResponseWriter, value any) {
		body, _ := json.Marshal(value)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
	who := func(w http.ResponseWriter) {
		reply(w, map[string]string{"version": version, "instance": service.Contract.Instance})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { who(w) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
		if err != nil {
			ms = 300
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
		who(w)
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			atomic.AddInt64(&count, 1)
		}
		reply(w, map[string]any{"version": version, "count": atomic.LoadInt64(&count)})
	})
	mux.HandleFunc("/break", func(w http.ResponseWriter, _ *http.Request) {
		atomic.StoreInt64(&broken, 1)
		reply(w, map[string]any{})
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) { events(w, r, version) })
	mux.HandleFunc("/ws", echo)

	service.OnReady = func(context.Context) error {
		if gate := os.Getenv("SAMPLE_GATE"); gate != "" { // a named pipe: whoever opens it lets us go on
			_, err := os.ReadFile(gate)
			return err
		}
		return nil
	}
	service.Health = func() error {
		if atomic.LoadInt64(&broken) == 1 {
			return errors.New("out of order")
		}
		return nil
	}
	service.Save = func() ([]byte, error) {
		return json.Marshal(map[string]int64{"count": atomic.LoadInt64(&count)})
	}
	service.Restore = func(left bumpless.Handover) error {
		var state struct{ Count int64 }
		if err := json.Unmarshal(left.State, &state); err != nil {
			return err
		}
		atomic.StoreInt64(&count, state.Count)
		return nil
	}

	var config *tls.Config
	if cert := os.Getenv("SAMPLE_CERT"); cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, os.Getenv("SAMPLE_KEY"))
		if err != nil {
			log.Fatal(err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	service.HTTP("http", "127.0.0.1:8080", mux, config)
	if os.Getenv("SAMPLE_UDP") != "" {
		service.Datagrams("echo", "127.0.0.1:8081", func(data []byte, _ net.Addr) []byte {
			return append([]byte(version+" "), data...)
		})
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}

func events(w http.ResponseWriter, r *http.Request, version string) {
	w.Header().Set("Content-Type", "text/event-stream")
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for {
		fmt.Fprintf(w, "data: %s\n\n", version)
		w.(http.Flusher).Flush()
		select {
		case <-ticks.C:
		case <-r.Context().Done():
			return
		case <-bumpless.Leaving(r.Context()):
			fmt.Fprint(w, bumpless.Farewell())
			return
		}
	}
}
