// The load of `make bench-switch`: every kind of client at once against one address, nobody retrying anything.
//
// Runs until its input ends, then writes one line for each request that ended: kind, end (Unix microseconds), latency
// (microseconds), outcome, version that answered. Outcomes other than "ok" are failures: reset, refused, closed,
// timeout, status, malformed. A stream that was told to reconnect, or that we ended, is "ok".
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const patience = 10 * time.Second

var (
	address = flag.String("address", "127.0.0.1:8080", "host:port")
	busy    = flag.Int("busy", 8, "connections that ask every 10 to 30 ms")
	slow    = flag.Int("slow", 32, "connections that ask every 400 to 1200 ms")
	naive   = flag.Int("naive", 8, "like slow, every 0 to 300 ms, and never looking at a connection before they use it")
	fresh   = flag.Int("fresh", 100, "new connections per second")
	polls   = flag.Int("polls", 4, "clients that wait 1.5 s for each answer")
	events  = flag.Int("events", 4, "event streams")
	sockets = flag.Int("sockets", 4, "WebSockets")
)

type result struct {
	kind, outcome, version string
	end                    time.Time
	took                   time.Duration
}

var (
	results = make(chan result, 4096)
	stop    = make(chan struct{})
)

func report(kind string, began time.Time, version string, err error) {
	now := time.Now()
	results <- result{kind, outcome(err), version, now, now.Sub(began)}
}

func outcome(err error) string {
	var odd *unexpected
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &odd):
		return odd.kind
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	return "malformed"
}

type unexpected struct{ kind, found string }

func (u *unexpected) Error() string { return u.kind + ": " + u.found }

type client struct {
	net.Conn
	r *bufio.Reader
}

func dial() (*client, error) {
	conn, err := net.DialTimeout("tcp", *address, patience)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &client{conn, bufio.NewReader(conn)}, nil
}

// touched tells whether the server has closed the connection, or sent what nobody asked for.
func (c *client) touched() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	waits := true
	_ = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waits = err != syscall.EAGAIN || n > 0
		return true
	})
	return waits
}

// ask sends one request and reads its whole answer. keep: the connection may be used again.
func (c *client) ask(path string) (version string, keep bool, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return "", false, err
	}
	length, keep, err := c.head("200")
	if err != nil {
		return "", false, err
	}
	if length < 0 {
		return "", false, &unexpected{"malformed", "no length"}
	}
	body := make([]byte, length)
	if _, err = io.ReadFull(c.r, body); err != nil {
		return "", false, err
	}
	return versionIn(string(body)), keep, nil
}

// head reads the status line and the fields; length -1: chunked, or until the end.
func (c *client) head(status string) (length int, keep bool, err error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return 0, false, err
	}
	if fields := strings.Fields(line); len(fields) < 2 || fields[1] != status {
		return 0, false, &unexpected{"status", strings.TrimSpace(line)}
	}
	length, keep = -1, true
	for {
		line, err = c.r.ReadString('\n')
		if err != nil {
			return 0, false, err
		}
		name, value, found := strings.Cut(strings.TrimSpace(line), ":")
		if !found {
			return length, keep, nil
		}
		value = strings.ToLower(strings.TrimSpace(value))
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return 0, false, &unexpected{"malformed", line}
			}
		case "connection":
			keep = value != "close"
		}
	}
}

func versionIn(body string) string {
	_, rest, _ := strings.Cut(body, `"version"`)
	_, rest, _ = strings.Cut(rest, `"`)
	version, _, _ := strings.Cut(rest, `"`)
	return version
}

// kept asks again and again on one connection, with a pause from least to most.
func kept(kind, path string, least, most time.Duration, careful bool) {
	var c *client
	for wait(least, most) {
		if c != nil && careful && c.touched() {
			c.Close()
			c = nil
		}
		began := time.Now()
		var err error
		if c == nil {
			if c, err = dial(); err != nil {
				report(kind, began, "", err)
				c = nil
				continue
			}
		}
		version, keep, err := c.ask(path)
		report(kind, began, version, err)
		if err != nil || !keep {
			c.Close()
			c = nil
		}
	}
}

func once() {
	began := time.Now()
	c, err := dial()
	version := ""
	if err == nil {
		version, _, err = c.ask("/")
		c.Close()
	}
	report("fresh", began, version, err)
}

// follow reads an event stream until it is told to reconnect. One that ends without that word has failed.
func follow() {
	for wait(0, 200*time.Millisecond) {
		began := time.Now()
		told, err := oneStream()
		if err == nil && !told {
			err = &unexpected{"closed", "no word to reconnect"}
		}
		select {
		case <-stop:
			return
		default:
			report("events", began, "", err)
		}
	}
}

func oneStream() (told bool, err error) {
	c, err := dial()
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err = io.WriteString(c, "GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		return false, err
	}
	if _, _, err = c.head("200"); err != nil {
		return false, err
	}
	for {
		if !wait(0, 0) {
			return false, nil
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		line, err := c.r.ReadString('\n')
		if err != nil {
			return told, err
		}
		line = strings.TrimSpace(line)
		told = told || line == "event: reconnect"
		if told && line == "0" { // the last chunk: ended, not cut
			return true, nil
		}
	}
}

// talk sends a message and waits for its echo, ten times a second, until the server closes with "service restart".
func talk() {
	for wait(0, 200*time.Millisecond) {
		began := time.Now()
		err := oneSocket()
		select {
		case <-stop:
			return
		default:
			report("sockets", began, "", err)
		}
	}
}

func oneSocket() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		return err
	}
	if _, _, err = c.head("101"); err != nil {
		return err
	}
	for {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err = c.Write([]byte{0x81, 0x84, 0, 0, 0, 0, 'p', 'i', 'n', 'g'}); err != nil {
			return err
		}
		var head [2]byte
		if _, err = io.ReadFull(c.r, head[:]); err != nil {
			return err
		}
		data := make([]byte, head[1])
		if _, err = io.ReadFull(c.r, data); err != nil {
			return err
		}
		if head[0]&0x0f == 8 {
			code := 0
			if len(data) >= 2 {
				code = int(binary.BigEndian.Uint16(data))
			}
			_, _ = c.Write([]byte{0x88, 0x82, 0, 0, 0, 0, data[0], data[1]})
			if code != 1012 && code != 1001 {
				return &unexpected{"closed", strconv.Itoa(code)}
			}
			return nil
		}
		if !wait(100*time.Millisecond, 100*time.Millisecond) {
			return nil
		}
	}
}

// wait is false when the load shall end.
func wait(least, most time.Duration) bool {
	pause := least
	if most > least {
		pause += time.Duration(rand.Int63n(int64(most - least)))
	}
	select {
	case <-stop:
		return false
	default:
	}
	select {
	case <-stop:
		return false
	case <-time.After(pause):
		return true
	}
}

func main() {
	flag.Parse()
	rand.Seed(time.Now().UnixNano())
	var running sync.WaitGroup
	launch := func(count int, work func()) {
		for ; count > 0; count-- {
			running.Add(1)
			go func() {
				defer running.Done()
				work()
			}()
		}
	}
	const ms = time.Millisecond
	launch(*busy, func() { kept("busy", "/", 10*ms, 30*ms, true) })
	launch(*slow, func() { kept("slow", "/", 400*ms, 1200*ms, true) })
	launch(*naive, func() { kept("naive", "/", 0, 300*ms, false) })
	launch(*polls, func() { kept("polls", "/slow?ms=1500", 0, 50*ms, true) })
	launch(*events, follow)
	launch(*sockets, talk)
	if *fresh > 0 {
		launch(1, func() {
			next := time.Now()
			for wait(time.Until(next), 0) {
				next = next.Add(time.Second / time.Duration(*fresh))
				launch(1, once)
			}
		})
	}
	var all []result
	collected := make(chan struct{})
	go func() {
		for one := range results {
			all = append(all, one)
		}
		close(collected)
	}()
	fmt.Fprintln(os.Stderr, "running")
	_, _ = io.Copy(io.Discard, os.Stdin)
	close(stop)
	running.Wait()
	close(results)
	<-collected
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, r := range all {
		fmt.Fprintf(out, "%s,%d,%d,%s,%s\n", r.kind, r.end.UnixMicro(), r.took.Microseconds(), r.outcome, r.version)
	}
}
