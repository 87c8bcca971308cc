// A plain http server under the service contract: answers, waits, streams, and keeps a count that is handed over.
// By hand: node app.js, then curl http://127.0.0.1:8080/

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';

import { Service } from '../index.js';
import { echo } from './websocket.js';

const service = new Service('node-sample');
let broken = false;
let count = 0;

function answer(request, response) {
  const url = new URL(request.url, 'http://sample');
  const json = (value) => {
    const body = JSON.stringify(value);
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }).end(body);
  };
  const who = { version: service.version, instance: service.contract.instance };
  switch (url.pathname) {
    case '/': return json(who);
    case '/slow': return setTimeout(() => json(who), Number(url.searchParams.get('ms') ?? 300));
    case '/count':
      if (request.method === 'POST') count += 1;
      return json({ version: service.version, count });
    case '/break': broken = true; return json({});
    case '/events': {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      const tick = () => response.write(`data: ${service.version}\n\n`);
      tick();
      const timer = setInterval(tick, 100);
      return response.on('close', () => clearInterval(timer));
    }
    default: return response.writeHead(404).end();
  }
}

const { SAMPLE_CERT, SAMPLE_KEY, SAMPLE_GATE } = process.env;
const server = SAMPLE_CERT
  ? https.createServer({ cert: readFileSync(SAMPLE_CERT), key: readFileSync(SAMPLE_KEY) }, answer)
  : http.createServer(answer);
server.on('upgrade', echo);

service.http(server);
if (SAMPLE_GATE) service.onReady(() => readFile(SAMPLE_GATE)); // a named pipe: whoever opens it lets us go on
service.health(() => { if (broken) throw new Error('out of order'); });
service.onHandover(() => JSON.stringify({ count }));
service.onRestore(({ state }) => { count = JSON.parse(state).count; });
await service.run();
