// An http.Server (or https.Server) fed from shared listening sockets that can be paused.
//
// The server itself never listens: its own close() would end idle connections at once, and a client may be sending on
// one of them. Connections are accepted here and injected, and answers say `Connection: close` from a pause on, decided
// when the head is written.

import net from 'node:net';

import { Holder } from './holder.js';

const BACKLOG = 4096; // Node.js calls listen() on what it inherits: the same backlog as the executor's changes nothing
const KEEP_ALIVE_MS = 75_000;
const FAREWELL_MS = 2000;
const RESTART_FRAME = Buffer.from([0x88, 2, 1012 >> 8, 1012 & 0xff]);

export class Endpoint {
  accepting = false;
  inflight = 0;
  streams = new Set(); // functions that tell the client of one stream to reconnect
  #server;
  #observe;
  #places; // descriptors or handles while we do not listen
  #listeners = [];
  #holder = new Holder();
  #held = false;
  #raw = new Set();
  #tops = new Map(); // socket that carries HTTP -> requests on it
  #spreadMs = null;
  #leaving = false;
  #empty = [];

  constructor(server, places, observe) {
    this.#server = server;
    this.#places = places;
    this.#observe = observe;
    if (server.keepAliveTimeout === 5000) server.keepAliveTimeout = KEEP_ALIVE_MS; // the default; clients rest longer
    const secure = 'setSecureContext' in server;
    server.on(secure ? 'secureConnection' : 'connection', (socket) => {
      this.#tops.set(socket, 0);
      socket.on('close', () => this.#tops.delete(socket));
    });
    server.prependListener('request', (request, response) => this.#request(request, response));
    server.prependListener('upgrade', (request, socket) => this.#upgrade(request, socket));
  }

  get connections() { return this.#raw.size; }

  async accept() {
    if (this.accepting) return;
    const places = this.#held ? await this.#holder.release() : this.#places;
    this.#held = false;
    this.#listeners = await Promise.all(places.map((place) => this.#listen(place)));
    this.accepting = true;
  }

  async pause() {
    if (!this.accepting) return;
    await this.#holder.hold(this.#listeners.map((listener) => listener._handle));
    this.#held = true;
    this.#stop();
  }

  /** For good: closes our descriptors. */
  close() {
    this.#stop();
    this.#holder.forget();
  }

  /** Each stream, also one that begins later, is told at a random moment within `spreadMs`. */
  tellStreams(spreadMs) {
    this.#spreadMs = spreadMs;
    for (const leave of this.streams) this.#later(leave);
  }

  /** Closes connections that wait for a request, now and later. */
  closeIdle() {
    this.#leaving = true;
    setImmediate(() => { // what has arrived meanwhile is read first
      for (const [socket, requests] of this.#tops) if (requests === 0) socket.destroy();
    });
  }

  closed() {
    return new Promise((resolve) => (this.#raw.size === 0 ? resolve() : this.#empty.push(resolve)));
  }

  abort() {
    const left = this.#raw.size;
    for (const socket of this.#raw) socket.destroy();
    return left;
  }

  /** Counts a stream until the returned function is called; `leave` shall make its client reconnect. */
  stream(leave) {
    this.streams.add(leave);
    if (this.#spreadMs !== null) this.#later(leave);
    return () => this.streams.delete(leave);
  }

  #stop() {
    this.accepting = false;
    for (const listener of this.#listeners) listener.close();
    this.#listeners = [];
  }

  #listen(place) {
    return new Promise((resolve, reject) => {
      const listener = net.createServer({ noDelay: true, allowHalfOpen: true }, (socket) => this.#connected(socket));
      listener.once('error', reject);
      listener.once('listening', () => resolve(listener));
      if (typeof place === 'number') listener.listen({ fd: place }, BACKLOG);
      else listener.listen(place, BACKLOG);
    });
  }

  #connected(socket) {
    this.#raw.add(socket);
    socket.on('error', () => {}); // the client left
    socket.on('close', () => {
      this.#raw.delete(socket);
      if (this.#raw.size === 0) for (const tell of this.#empty.splice(0)) tell();
    });
    this.#server.emit('connection', socket);
  }

  #request(request, response) {
    const began = performance.now();
    const socket = request.socket;
    this.#tops.set(socket, (this.#tops.get(socket) ?? 0) + 1);
    this.inflight += 1;
    let done = null;
    const settle = () => {
      if (done === null) this.inflight -= 1;
      this.#observe(request.method, response.statusCode, (performance.now() - began) / 1000);
    };
    const writeHead = response.writeHead;
    response.writeHead = (...given) => {
      if (!this.accepting) response.setHeader('Connection', 'close');
      const result = writeHead.apply(response, given);
      if (done === null && isEvents(response, given)) {
        settle();
        done = this.stream(() => sayGoodbye(response));
      }
      return result;
    };
    response.once('close', () => {
      if (done === null) settle();
      else done();
      if (!this.#tops.has(socket)) return;
      const left = this.#tops.get(socket) - 1;
      this.#tops.set(socket, left);
      if (this.#leaving && left === 0) socket.destroySoon();
    });
  }

  #upgrade(request, socket) {
    const done = this.stream(() => {
      // Whatever library speaks on it, frames are written whole, so this one falls between two of them.
      if (request.headers.upgrade?.toLowerCase() === 'websocket' && socket.writable) socket.write(RESTART_FRAME);
      setTimeout(() => socket.end(), FAREWELL_MS).unref();
    });
    this.#tops.set(socket, 1);
    this.#observe(request.method, 101, 0);
    socket.once('close', done);
  }

  #later(leave) {
    setTimeout(() => { if (this.streams.has(leave)) leave(); }, Math.random() * this.#spreadMs);
  }
}

function isEvents(response, given) {
  const last = given.at(-1);
  const direct = last && typeof last === 'object' && !Array.isArray(last)
    ? Object.entries(last).find(([name]) => name.toLowerCase() === 'content-type')?.[1] : undefined;
  return String(direct ?? response.getHeader('content-type') ?? '').startsWith('text/event-stream');
}

function sayGoodbye(response) {
  const retry = 50 + Math.floor(Math.random() * 950);
  response.end(`retry: ${retry}\nevent: reconnect\ndata:\n\n`);
  response.write = () => false; // the application may not have noticed yet
  response.end = () => response;
}
