// One managed process: the order of starting, pausing and draining. docs/service-contract.md.

import http from 'node:http';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ContractError, readContract } from './contract.js';
import { Endpoint } from './endpoint.js';
import { Keeper } from './handover.js';
import { CONTENT_TYPE, Metrics } from './metrics.js';
import { notifier } from './notify.js';

const ACCEPT_SETTLE_MS = 50; // between the last accept and closing our descriptor
const LONGEST_SPREAD_MS = 5000; // over which streams are told to reconnect
const PATHS = { '/healthz': 'GET', '/readyz': 'GET', '/metrics': 'GET', '/drain': 'GET', '/pause': 'POST', '/resume': 'POST' };

export class Service {
  state = 'starting';
  metrics = new Metrics();
  #declared = new Map();
  #endpoints = [];
  #ready = [];
  #stopped = [];
  #checks = [];
  #keeper;
  #pausedAt = null;
  #turn = Promise.resolve();

  constructor(name, { version = 'dev', admin } = {}) {
    this.name = name;
    this.contract = readContract();
    this.version = this.contract.version || version;
    const { handoverFile, component, instance } = this.contract;
    this.#keeper = new Keeper(handoverFile, component || name, this.version, instance);
    this.notify = notifier(this.contract);
    this.adminDefault = admin ?? `${this.contract.stateDir}/${name}-admin.sock`;
    const started = Date.now() / 1000 - process.uptime();
    this.metrics.gauge('process_start_time_seconds', 'When the process started.', () => started);
    this.metrics.gauge('inflight_requests', 'Requests being served.', () => this.inflight);
    this.metrics.gauge('release_info', 'The release this process runs.').set(1, { version: this.version, digest: this.contract.digest });
    const requests = this.metrics.counter('http_requests_total', 'Requests answered.');
    const seconds = this.metrics.histogram('http_request_duration_seconds', 'From head to last byte written.');
    this.observe = (method, status, took) => {
      requests.inc({ method, status: String(status) });
      seconds.observe(took);
    };
  }

  get inflight() { return this.#sum((endpoint) => endpoint.inflight); }
  get streams() { return this.#sum((endpoint) => endpoint.streams.size); }
  get connections() { return this.#sum((endpoint) => endpoint.connections); }
  get paused() { return this.#pausedAt !== null || this.state === 'standby'; }

  /** Serves `server`, an http.Server or https.Server that does not listen, on the inherited sockets called `name`. */
  http(server, { name = 'http', default: place = '127.0.0.1:8080' } = {}) {
    if (name === 'admin' || this.#declared.has(name)) throw new Error(`expected a new endpoint name, found ${name}`);
    this.#declared.set(name, { server, place });
    return this;
  }

  onReady(callback) { this.#ready.push(callback); return this; }
  onStop(callback) { this.#stopped.push(callback); return this; }
  health(check) { this.#checks.push(check); return this; }

  /** `save` gives the state, as bytes or text, after the last request; for a component that runs once at a time. */
  onHandover(save) { this.#keeper.save = save; return this; }

  /** `restore({ state, version, instance })` is called before the first request, if the process before left a state. */
  onRestore(restore) { this.#keeper.restore = restore; return this; }

  /** Serves until SIGTERM or SIGINT; then drains and ends the process with 0. It ends with 1 if it cannot start. */
  async run() {
    try {
      await this.#main();
      process.exit(0);
    } catch (error) {
      console.error(`${this.name} stopped:`, error);
      process.exit(1);
    }
  }

  async pause() {
    if (this.state === 'standby') return;
    await Promise.all(this.#endpoints.map((endpoint) => endpoint.pause()));
    this.#pausedAt ??= Date.now();
    this.state = 'paused';
  }

  async resume() {
    await this.#keeper.take();
    if (this.state === 'draining') return;
    await Promise.all(this.#endpoints.map((endpoint) => endpoint.accept()));
    this.#pausedAt = null;
    this.state = 'serving';
  }

  async #main() {
    const stop = new Promise((resolve) => {
      for (const name of ['SIGTERM', 'SIGINT']) process.on(name, resolve);
    });
    for (const [name, { server, place }] of this.#declared) {
      this.#endpoints.push(new Endpoint(server, this.#places(name, place), this.observe));
    }
    await this.#administer();
    const started = await Promise.race([this.#start().then(() => true), stop.then(() => false)]);
    if (started) {
      this.notify('READY=1', `STATUS=${this.name} ${this.version} is ${this.state}`);
      await stop;
      await this.#turn;
      await this.#drain();
      await this.#keeper.leave();
    }
    for (const callback of this.#stopped) await callback();
  }

  async #start() {
    for (const callback of this.#ready) await callback();
    if (this.contract.standby) this.state = 'standby';
    else await this.resume();
  }

  async #drain() {
    const began = Date.now();
    const deadline = began + this.contract.drainTimeoutMs;
    const lameUntil = (this.#pausedAt ?? began) + this.contract.lameDuckMs;
    this.state = 'draining';
    this.notify('STOPPING=1', `STATUS=${this.name} ${this.version} drains`);
    await sleep(ACCEPT_SETTLE_MS);
    for (const endpoint of this.#endpoints) {
      endpoint.close();
      endpoint.tellStreams(Math.min(LONGEST_SPREAD_MS, this.contract.drainTimeoutMs / 4));
    }
    const closed = Promise.all(this.#endpoints.map((endpoint) => endpoint.closed()));
    await atMost(closed, Math.min(lameUntil, deadline) - Date.now());
    for (const endpoint of this.#endpoints) endpoint.closeIdle();
    await atMost(closed, deadline - Date.now());
    const cut = this.#sum((endpoint) => endpoint.abort());
    if (cut) {
      console.error(`drain deadline reached: cut ${cut} connections`);
      this.notify(`STATUS=drain deadline reached, ${cut} cut`);
    }
  }

  #places(name, place) {
    const given = this.contract.sockets.get(name);
    if (given) return given;
    if (this.contract.managed) {
      throw new ContractError(`expected a socket named ${name} in LISTEN_FDNAMES, found ${[...this.contract.sockets.keys()]}`);
    }
    const [, host, port] = /^\[?(.*?)\]?:([0-9]+)$/.exec(place) ?? [];
    return [port === undefined ? { path: place } : { host, port: Number(port) }];
  }

  async #administer() {
    const server = http.createServer((request, response) => this.#answer(request, response));
    const fd = this.contract.sockets.get('admin')?.[0];
    if (fd === undefined) {
      mkdirSync(dirname(this.adminDefault), { recursive: true });
      rmSync(this.adminDefault, { force: true });
    }
    await new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(fd === undefined ? { path: this.adminDefault } : { fd }, resolve);
    });
  }

  async #answer(request, response) {
    const path = request.url.split('?')[0];
    if (!Object.hasOwn(PATHS, path)) return reply(response, 404, 'not found\n');
    if (request.method !== PATHS[path]) return reply(response, 405, 'method not allowed\n');
    if (path === '/metrics') return reply(response, 200, this.metrics.expose(), CONTENT_TYPE);
    if (path === '/healthz' || (path === '/readyz' && this.state === 'serving')) {
      const reason = await this.#unhealthy();
      return reply(response, reason ? 503 : 200, `${reason || 'ok'}\n`);
    }
    if (path === '/readyz') return reply(response, 503, `${this.state}\n`);
    if (path === '/drain') return reply(response, 200, JSON.stringify(this.#progress()), 'application/json');
    if (this.state === 'starting' || this.state === 'draining') {
      return reply(response, 409, JSON.stringify(this.#progress()), 'application/json');
    }
    // One after the other: a resume that overtakes a pause would find no socket.
    const turn = this.#turn.then(() => (path === '/pause' ? this.pause() : this.resume()));
    this.#turn = turn.catch(() => {});
    try {
      await turn;
      return reply(response, 200, JSON.stringify(this.#progress()), 'application/json');
    } catch (error) {
      return reply(response, 500, `${error}\n`);
    }
  }

  async #unhealthy() {
    for (const check of this.#checks) {
      try {
        await check();
      } catch (error) {
        return String(error);
      }
    }
    return '';
  }

  #progress() {
    return { inflight: this.inflight, streams: this.streams, connections: this.connections, unacknowledged: 0, paused: this.paused, state: this.state, handover: this.#keeper.outcome };
  }

  #sum(of) { return this.#endpoints.reduce((total, endpoint) => total + of(endpoint), 0); }
}

function reply(response, status, body, type = 'text/plain; charset=utf-8') {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body);
}

async function atMost(promise, ms) {
  const stop = new AbortController();
  await Promise.race([promise, sleep(Math.max(0, ms), undefined, { signal: stop.signal }).catch(() => {})]);
  stop.abort();
}
