// Echoes WebSocket messages: just enough of RFC 6455 for a sample without dependencies. Take the package `ws` for more.

import { createHash } from 'node:crypto';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export function echo(request, socket) {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let waiting = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('data', (data) => {
    waiting = Buffer.concat([waiting, data]);
    for (let frame = take(waiting); frame; frame = take(waiting)) {
      waiting = frame.rest;
      if (frame.opcode === 8) socket.end(Buffer.concat([Buffer.from([0x88, frame.data.length]), frame.data]));
      else socket.write(Buffer.concat([Buffer.from([0x80 | frame.opcode, frame.data.length]), frame.data]));
    }
  });
}

/** The first frame of at most 125 bytes, or null while it is incomplete. */
function take(buffer) {
  if (buffer.length < 6) return null;
  const size = buffer[1] & 0x7f;
  if (size > 125) throw new Error(`expected a frame of at most 125 bytes, found ${size}`);
  if (buffer.length < 6 + size) return null;
  const data = Buffer.from(buffer.subarray(6, 6 + size));
  for (let at = 0; at < size; at += 1) data[at] ^= buffer[2 + (at % 4)];
  return { opcode: buffer[0] & 0x0f, data, rest: buffer.subarray(6 + size) };
}
