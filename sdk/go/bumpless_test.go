package bumpless

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSocketsAreForTheProcessTheyAreMeantFor(t *testing.T) {
	t.Setenv("LISTEN_FDS", "3")
	t.Setenv("LISTEN_FDNAMES", "http:http:admin")
	t.Setenv("NOTIFY_FD", "6")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	ours, err := ReadContract()
	if err != nil || !ours.Managed || ours.notifyFD != 6 || len(ours.Descriptors["http"]) != 2 || ours.Descriptors["admin"][0] != 5 {
		t.Fatalf("expected three sockets and a pipe, found %+v, %v", ours, err)
	}
	t.Setenv("LISTEN_PID", "1")
	if other, err := ReadContract(); err != nil || other.Managed || other.notifyFD != -1 {
		t.Fatalf("expected nothing, found %+v, %v", other, err)
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_FDS", "2")
	if _, err := ReadContract(); err == nil {
		t.Fatal("expected names that do not fit to be refused")
	}
}

func TestHandoverComesBackAndDamageIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "state")
	if left, err := ReadHandover(path, "counter"); left != nil || err != nil {
		t.Fatalf("expected nothing, found %v, %v", left, err)
	}
	if err := WriteHandover(path, "counter", Handover{[]byte("a\nb"), "v1", "one"}); err != nil {
		t.Fatal(err)
	}
	left, err := ReadHandover(path, "counter")
	if err != nil || string(left.State) != "a\nb" || left.Version != "v1" || left.Instance != "one" {
		t.Fatalf("expected what was written, found %+v, %v", left, err)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string][]byte{
		"expected 3 bytes of state, found 2": written[:len(written)-1],
		"another digest":                     append(append([]byte{}, written[:len(written)-1]...), 'c'),
		"expected a line":                    {},
	}
	for reason, data := range refused {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadHandover(path, "counter"); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("expected %q, found %v", reason, err)
		}
	}
}

func TestGateLeavesConnectionsToOthersAndTakesThemLater(t *testing.T) {
	s := &Service{}
	s.durations.counts = make([]uint64, len(buckets))
	s.requests = s.Counter("http_requests_total", "", "method", "status")
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	e, err := newEndpoint(s, hello, nil, []net.Listener{inner})
	if err != nil {
		t.Fatal(err)
	}
	defer e.abort()
	url := "http://" + inner.Addr().String()
	kept := &http.Client{Timeout: 45 * time.Second}
	ask := func() bool {
		answer, err := kept.Get(url)
		if err != nil {
			t.Error(err)
			return false
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.Close
	}
	e.accept(true)
	if ask() {
		t.Error("expected an open gate to keep the connection")
	}
	e.accept(false)
	if !ask() {
		t.Error("expected a shut gate to end the connection it had")
	}
	done := make(chan bool, 1)
	go func() { done <- ask() }()
	other, err := net.Dial("tcp", inner.Addr().String()) // the socket still listens
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	select {
	case <-done:
		t.Error("expected nobody to be served behind a shut gate")
	default:
	}
	e.accept(true)
	if <-done {
		t.Error("expected the one that waited to be served and kept")
	}
}

// datagramPair is two processes' view of one socket: each has a descriptor of its own. The second leaves it to the first.
func datagramPair(t *testing.T, answers ...string) (net.Conn, []*packets) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var both []*packets
	for _, answer := range answers {
		answer := []byte(answer)
		file, err := socket.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := syscall.Dup(int(file.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		p, err := openPackets(nil, declared{name: "echo", datagram: func([]byte, net.Addr) []byte { return answer }}, []int{fd})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.close)
		both = append(both, p)
	}
	sender, err := net.Dial("udp", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sender.Close() })
	_ = sender.SetDeadline(time.Now().Add(45 * time.Second))
	return sender, both
}

func TestDatagramsAfterAPauseAreLeftToOthers(t *testing.T) {
	sender, both := datagramPair(t, "old", "new")
	old, new := both[0], both[1]
	new.set(true)
	answer := make([]byte, 10)
	for round := 0; round < 300; round++ {
		old.set(true)
		for n := 0; n < 5; n++ {
			if _, err := sender.Write([]byte("to both")); err != nil {
				t.Fatal(err)
			}
		}
		old.set(false) // some are not yet read: whoever takes them answers
		for n := 0; n < 5; n++ {
			if _, err := sender.Read(answer); err != nil {
				t.Fatal(err)
			}
		}
		for n := 0; n < 5; n++ {
			if _, err := sender.Write([]byte("to the new one")); err != nil {
				t.Fatal(err)
			}
			if size, err := sender.Read(answer); err != nil || string(answer[:size]) != "new" {
				t.Fatalf("expected the new one to answer in round %d, found %q, %v", round, answer[:size], err)
			}
		}
	}
}

func TestADatagramBeingAnsweredIsSeenByWhoeverDrains(t *testing.T) {
	sender, both := datagramPair(t, "")
	s, asked, told := &Service{packets: both}, make(chan bool), make(chan []byte)
	both[0].answer = func([]byte, net.Addr) []byte { asked <- true; return <-told }
	both[0].set(true)
	if _, err := sender.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	<-asked
	both[0].set(false)
	if s.inflight() != 1 {
		t.Errorf("expected the one being answered to count, found %d", s.inflight())
	}
	told <- []byte("answer")
	answer := make([]byte, 10)
	if size, err := sender.Read(answer); err != nil || string(answer[:size]) != "answer" {
		t.Errorf("expected the answer, found %q, %v", answer[:size], err)
	}
}
