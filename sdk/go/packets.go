package bumpless

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// packets answers datagrams one after the other on shared sockets. Both instances of a switch read from the same one.
type packets struct {
	answering int64 // first, so that it is aligned everywhere
	*door
	conns  []net.PacketConn
	answer func([]byte, net.Addr) []byte
}

func openPackets(s *Service, d declared, fds []int) (*packets, error) {
	p := &packets{answer: d.datagram}
	p.door = newDoor(func(at time.Time) {
		for _, conn := range p.conns {
			_ = conn.SetReadDeadline(at)
		}
	})
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

func (p *packets) close() {
	p.door.close()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

func (p *packets) serve(conn net.PacketConn) {
	buffer := make([]byte, 65535)
	for p.enter() {
		n, from, err := conn.ReadFrom(buffer)
		if err == nil {
			atomic.AddInt64(&p.answering, 1) // before leaving: whoever shut the door sees it
		}
		p.leave()
		switch {
		case err == nil:
			if out := p.answer(append([]byte(nil), buffer[:n]...), from); out != nil {
				_, _ = conn.WriteTo(out, from)
			}
			atomic.AddInt64(&p.answering, -1)
		case errors.Is(err, net.ErrClosed):
			return
		}
	}
}
