// A Node.js cluster that says which version it is, and finishes what is open when it is told to end.
const cluster = require("node:cluster");
const http = require("node:http");
const net = require("node:net");

const WORKERS = 2;

function primary() {
  // Workers accept themselves: a connection that the primary holds for one that leaves would be lost.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  let listening = 0;
  cluster.on("listening", () => {
    if (++listening === WORKERS) console.log("ready");
  });
  for (let n = 0; n < WORKERS; n++) cluster.fork();
  process.on("SIGTERM", () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill("SIGTERM");
  });
  cluster.on("exit", () => {
    if (Object.keys(cluster.workers).length === 0) process.exit(0);
  });
}

function worker() {
  let draining = false;
  const server = http.createServer((request, response) => {
    const answer = () => {
      // Decided when the answer is written, not when the request came.
      if (draining) response.setHeader("Connection", "close");
      response.end(process.env.BUMPLESS_VERSION);
    };
    if (request.url === "/slow") setTimeout(answer, 100);
    else answer();
  });
  // The same backlog as the socket has: listen() acts for both versions.
  server.listen({ fd: Number(process.env.BUMPLESS_FD), backlog: 4096 });
  process.on("SIGTERM", () => {
    draining = true;
    // http.Server.close() would also close idle connections, on which a request may be on its way.
    net.Server.prototype.close.call(server, () => process.exit(0));
    setTimeout(() => server.closeIdleConnections(), Number(process.env.BUMPLESS_LAME_DUCK_MS));
  });
}

if (cluster.isPrimary) primary();
else worker();
