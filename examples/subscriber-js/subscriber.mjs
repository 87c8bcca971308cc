// Shows rollouts live, from the broker alone: an example for dashboards, with nats.js and nothing of Bumpless.
//
//     npm install && node subscriber.mjs nats://127.0.0.1:4222 access/services/reader.seed
//
// It may join at any time: the stream PROG keeps the last value of every subject, so the picture is whole at once.
import { readFileSync } from "node:fs";
import { connect, DeliverPolicy, JSONCodec, nkeyAuthenticator } from "nats";

const url = process.argv[2] ?? "nats://127.0.0.1:4222";
const seed = process.argv[3]; // the file with the key that looks and changes nothing
const json = JSONCodec();
const versions = new Map(); // the highest `version` seen of each rollout; lower ones are late and dropped

function line(body) {
  const short = body.rollout.slice(0, 8);
  switch (body.type) {
    case "rollout-progressed": {
      if (body.version < (versions.get(body.rollout) ?? 0)) return null;
      versions.set(body.rollout, body.version);
      const why = body.reason ? `: ${body.reason}` : "";
      const done = `${body.steps_done}/${body.steps_total}`;
      return `${short} ${body.direction} ${body.product} ${body.release_version} ${body.status} ${done}${why}`;
    }
    case "step-progressed":
      return `${short}   ${body.node}/${body.component} ${body.state} ${Math.round(body.share * 100)}% ${body.detail}`;
    case "gate-progressed":
      return `${short}   gate ${body.batch}: ${body.verdict ?? "judging"} ${body.detail}`;
    default:
      return null; // a newer Bumpless may say more
  }
}

const broker = await connect({
  servers: url,
  maxReconnectAttempts: -1,
  authenticator: seed && nkeyAuthenticator(new TextEncoder().encode(readFileSync(seed, "utf8").trim())),
});
const stream = await broker.jetstream().consumers.get("PROG", {
  filterSubjects: "prog.>", // a list would be asked for without a name, which is refused
  deliver_policy: DeliverPolicy.LastPerSubject,
});
for await (const message of await stream.consume()) {
  const text = line(json.decode(message.data));
  if (text !== null) console.log(text.trimEnd());
}
