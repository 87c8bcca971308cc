package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"bumpless"
)

// echo answers WebSocket messages with themselves: just enough of RFC 6455 for a sample without dependencies.
func echo(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	hijacker, ok := w.(http.Hijacker)
	if !ok || key == "" {
		http.Error(w, "expected a WebSocket handshake", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	var writing sync.Mutex
	send := func(opcode byte, data []byte) error {
		writing.Lock()
		defer writing.Unlock()
		_, err := conn.Write(append([]byte{0x80 | opcode, byte(len(data))}, data...))
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-bumpless.Leaving(r.Context()):
			code := binary.BigEndian.AppendUint16(nil, bumpless.RestartCode)
			_ = send(8, code)
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		case <-ended:
		}
	}()
	for {
		opcode, data, err := frame(rw.Reader)
		if err != nil || send(opcode, data) != nil || opcode == 8 {
			return
		}
	}
}

func frame(r *bufio.Reader) (byte, []byte, error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1] & 0x7f)
	if size > 125 {
		return 0, nil, fmt.Errorf("expected a frame of at most 125 bytes, found %d", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, err
	}
	for at := range data {
		data[at] ^= head[2+at%4]
	}
	return head[0] & 0x0f, data, nil
}
