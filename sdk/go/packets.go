package bumpless

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// packets answers datagrams one after the other on shared sockets. Both instances of a switch read from the same one.
type packets struct {
	conns   []net.PacketConn
	answer  func([]byte, net.Addr) []byte
	mu      sync.Mutex
	changed *sync.Cond
	open    bool
	closed  bool
}

func openPackets(s *Service, d declared, fds []int) (*packets, error) {
	p := &packets{answer: d.datagram}
	p.changed = sync.NewCond(&p.mu)
	for _, fd := range fds {
		conn, err := inheritedPacketConn(fd, d.name)
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, conn)
	}
	if len(fds) == 0 {
		conn, err := net.ListenPacket("udp", d.place)
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, conn)
	}
	for _, conn := range p.conns {
		go p.serve(conn)
	}
	return p, nil
}

func (p *packets) read(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = on
	for _, conn := range p.conns {
		if on {
			_ = conn.SetReadDeadline(time.Time{})
		} else {
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
	p.changed.Broadcast()
}

func (p *packets) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *packets) serve(conn net.PacketConn) {
	buffer := make([]byte, 65535)
	for {
		p.mu.Lock()
		for !p.open && !p.closed {
			p.changed.Wait()
		}
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		n, from, err := conn.ReadFrom(buffer)
		switch {
		case err == nil:
			if out := p.answer(append([]byte(nil), buffer[:n]...), from); out != nil {
				_, _ = conn.WriteTo(out, from)
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, net.ErrClosed):
			return
		}
	}
}
