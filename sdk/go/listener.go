package bumpless

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// gate is a listener that can stop accepting and go on. It never closes a connection and never calls listen(2).
type gate struct {
	net.Listener
	*door
}

func newGate(inner net.Listener) (*gate, error) {
	dated, ok := inner.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return nil, fmt.Errorf("expected a TCP or Unix listener, found %T", inner)
	}
	return &gate{inner, newDoor(func(at time.Time) { _ = dated.SetDeadline(at) })}, nil
}

// Accept waits while the gate is shut. Whatever was accepted is returned, also when the gate was shut meanwhile.
func (g *gate) Accept() (net.Conn, error) {
	for g.enter() {
		conn, err := g.Listener.Accept()
		g.leave()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
	}
	return nil, net.ErrClosed
}

func (g *gate) Close() error {
	if !g.close() {
		return nil
	}
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
