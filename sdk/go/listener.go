package bumpless

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// gate is a listener that can stop accepting and go on. It never closes a connection and never calls listen(2).
type gate struct {
	net.Listener
	deadline func(time.Time) error
	mu       sync.Mutex
	changed  *sync.Cond
	open     bool
	closed   bool
}

func newGate(inner net.Listener) (*gate, error) {
	dated, ok := inner.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return nil, fmt.Errorf("expected a TCP or Unix listener, found %T", inner)
	}
	g := &gate{Listener: inner, deadline: dated.SetDeadline}
	g.changed = sync.NewCond(&g.mu)
	return g, nil
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	if open {
		_ = g.deadline(time.Time{})
	} else {
		_ = g.deadline(time.Unix(1, 0)) // wakes an Accept that waits
	}
	g.changed.Broadcast()
}

// Accept waits while the gate is shut. Whatever was accepted is returned, also when the gate was shut meanwhile.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		for !g.open && !g.closed {
			g.changed.Wait()
		}
		closed := g.closed
		g.mu.Unlock()
		if closed {
			return nil, net.ErrClosed
		}
		conn, err := g.Listener.Accept()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
	}
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	g.changed.Broadcast()
	return g.Listener.Close()
}

// inheritedListener takes a descriptor over. The kernel says what family it is.
func inheritedListener(fd int, name string) (net.Listener, error) {
	file := takeFD(fd, name)
	defer file.Close() // FileListener made its own
	inner, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("expected a listening socket named %s on descriptor %d, found: %w", name, fd, err)
	}
	if unix, ok := inner.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // the name belongs to the executor
	}
	return inner, nil
}

func inheritedPacketConn(fd int, name string) (net.PacketConn, error) {
	file := takeFD(fd, name)
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, fmt.Errorf("expected a datagram socket named %s on descriptor %d, found: %w", name, fd, err)
	}
	return conn, nil
}

func takeFD(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

func writeFD(fd int, data []byte) (int, error) {
	return syscall.Write(fd, data)
}
