// Package bumpless is what a Go service needs to be upgraded without a failed request. Standard library only.
//
// A Service takes the sockets that the executor opened, says when it is ready, can be paused and resumed while its
// connections stay open, and drains at SIGTERM: see docs/service-contract.md.
package bumpless

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const firstFD = 3 // sd_listen_fds(3)

// Contract is the identity and the limits of this process, and the names of the sockets it was given.
type Contract struct {
	Managed                          bool
	Node, Component, Version, Digest string
	Release, Instance, StateDir      string
	LameDuck, DrainTimeout           time.Duration
	Standby                          bool
	HandoverFile                     string
	Descriptors                      map[string][]int
	notifySocket                     string
	notifyFD                         int
}

// ReadContract reads the environment. Descriptors meant for another process (a LISTEN_PID that is not ours) are left
// alone.
func ReadContract() (Contract, error) {
	c := Contract{
		Node:         os.Getenv("BUMPLESS_NODE"),
		Component:    os.Getenv("BUMPLESS_COMPONENT"),
		Version:      os.Getenv("BUMPLESS_VERSION"),
		Digest:       os.Getenv("BUMPLESS_DIGEST"),
		Release:      os.Getenv("BUMPLESS_RELEASE"),
		Instance:     os.Getenv("BUMPLESS_INSTANCE"),
		StateDir:     os.Getenv("BUMPLESS_STATE_DIR"),
		Standby:      os.Getenv("BUMPLESS_STANDBY") == "1",
		HandoverFile: os.Getenv("BUMPLESS_HANDOVER_FILE"),
		Descriptors:  map[string][]int{},
		notifySocket: os.Getenv("NOTIFY_SOCKET"),
		notifyFD:     -1,
	}
	if c.StateDir == "" {
		c.StateDir = "state"
	}
	lame, err := number("BUMPLESS_LAME_DUCK_MS", 2000)
	if err != nil {
		return c, err
	}
	drain, err := number("BUMPLESS_DRAIN_TIMEOUT_MS", 30000)
	if err != nil {
		return c, err
	}
	c.LameDuck, c.DrainTimeout = time.Duration(lame)*time.Millisecond, time.Duration(drain)*time.Millisecond
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return c, nil
	}
	c.Managed = true
	count, err := number("LISTEN_FDS", 0)
	if err != nil {
		return c, err
	}
	names := make([]string, count)
	for at := range names {
		names[at] = "unknown"
	}
	if text := os.Getenv("LISTEN_FDNAMES"); text != "" {
		names = strings.Split(text, ":")
	}
	if len(names) != count {
		return c, fmt.Errorf("expected %d names in LISTEN_FDNAMES, found %q", count, os.Getenv("LISTEN_FDNAMES"))
	}
	for at, name := range names {
		c.Descriptors[name] = append(c.Descriptors[name], firstFD+at)
	}
	if os.Getenv("NOTIFY_FD") != "" {
		if c.notifyFD, err = number("NOTIFY_FD", 0); err != nil {
			return c, err
		}
		syscall.CloseOnExec(c.notifyFD)
	}
	return c, nil
}

func number(name string, otherwise int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, nil
	}
	value, err := strconv.Atoi(text)
	if err != nil || value < 0 {
		return 0, fmt.Errorf("expected a whole number in %s, found %q", name, text)
	}
	return value, nil
}

// notify sends states to NOTIFY_SOCKET, else to the pipe NOTIFY_FD. The executor may be away: errors mean nothing.
func (c Contract) notify(states ...string) {
	text := []byte(strings.Join(states, "\n"))
	if c.notifySocket != "" {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: c.notifySocket, Net: "unixgram"})
		if err == nil {
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = conn.Write(text)
		}
		return
	}
	if c.notifyFD >= 0 {
		// Never closed: the descriptor is ours for the life of the process.
		_, _ = writeFD(c.notifyFD, append(text, '\n'))
	}
}
