import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { ContractError, HandoverError, readContract, readHandover, writeHandover } from '../index.js';
import { Endpoint } from '../lib/endpoint.js';
import { Metrics } from '../lib/metrics.js';

const env = { LISTEN_PID: '7', LISTEN_FDS: '3', LISTEN_FDNAMES: 'http:http:admin', NOTIFY_FD: '6' };

test('sockets are found by name, and only by the process they are meant for', () => {
  const contract = readContract(env, 7);
  assert.deepEqual([...contract.sockets], [['http', [3, 4]], ['admin', [5]]]);
  assert.equal(contract.notifyFd, 6);
  const other = readContract(env, 8);
  assert.deepEqual([other.managed, other.sockets.size, other.notifyFd], [false, 0, null]);
});

test('a malformed contract is refused', () => {
  assert.throws(() => readContract({ ...env, LISTEN_FDS: '2' }, 7), ContractError);
  assert.throws(() => readContract({ BUMPLESS_LAME_DUCK_MS: 'soon' }, 7), /whole number in BUMPLESS_LAME_DUCK_MS/);
});

test('a handover comes back as it was left, and damage is found', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bumpless-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'deep', 'state');
  assert.equal(await readHandover(path, 'counter'), null);
  await writeHandover(path, 'counter', { state: Buffer.from('a\nb'), version: 'v1', instance: 'one' });
  const left = await readHandover(path, 'counter');
  assert.deepEqual({ ...left, state: left.state.toString() }, { state: 'a\nb', version: 'v1', instance: 'one' });
  await assert.rejects(readHandover(path, 'another'), HandoverError);
  const written = await readFile(path);
  await writeFile(path, written.subarray(0, -1));
  await assert.rejects(readHandover(path, 'counter'), /expected 3 bytes of state, found 2/);
  await writeFile(path, Buffer.concat([written.subarray(0, -1), Buffer.from('c')]));
  await assert.rejects(readHandover(path, 'counter'), /another digest/);
  await writeFile(path, '');
  await assert.rejects(readHandover(path, 'counter'), /expected a line/);
});

test('metrics are in the text format', () => {
  const metrics = new Metrics();
  metrics.counter('orders_total', 'Orders.').inc({ kind: 'a"b' });
  metrics.histogram('wait_seconds', 'Waits.', [1, 2]).observe(1.5);
  assert.match(metrics.expose(), /^# HELP orders_total Orders\.\n# TYPE orders_total counter\norders_total\{kind="a\\"b"\} 1\n/);
  assert.match(metrics.expose(), /wait_seconds_bucket\{le="1"\} 0\nwait_seconds_bucket\{le="2"\} 1\nwait_seconds_bucket\{le="\+Inf"\} 1\n/);
});

test('a paused endpoint leaves connections to others and takes them after a resume', async (t) => {
  const answers = http.createServer((_, response) => response.end('ok'));
  const seen = [];
  const probe = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const endpoint = new Endpoint(answers, [{ host: '127.0.0.1', port }], (method, status) => seen.push([method, status]));
  t.after(() => { endpoint.close(); endpoint.abort(); });
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const ask = () => new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', agent }, (response) => response.resume().on('end', () => resolve(response.headers.connection))).on('error', reject);
  });
  await endpoint.accept();
  assert.equal(await ask(), 'keep-alive');
  await endpoint.pause();
  assert.equal(await ask(), 'close'); // on the connection that was open
  let done = false;
  const waiting = ask().then((connection) => { done = true; return connection; });
  const later = net.connect(port, '127.0.0.1');
  t.after(() => later.destroy());
  await once(later, 'connect'); // the socket still listens; whoever connects waits in its queue
  assert.equal(done, false);
  await endpoint.accept();
  assert.equal(await waiting, 'keep-alive');
  assert.deepEqual(seen, [['GET', 200], ['GET', 200], ['GET', 200]]);
});
