// One rollout: where it is and why, its components, batches, nodes, gates and events; and what one may order.
import { html, useMemo } from "./vendor/ui.js";
import { Actions } from "./actions.js";
import { Gates } from "./gates.js";
import { Graph } from "./graph.js";
import { Grid } from "./grid.js";
import { useLive } from "./live.js";
import { Log } from "./log.js";
import { Bar, Chip, Connection, useNow, useQuery } from "./parts.js";
import { Timeline } from "./timeline.js";
import { clock, count, moment, natural, short, span, TERMINAL, tone } from "./words.js";

const NAMED = 3;
const BUSY = new Set(["waiting", "staging", "starting", "switching", "draining", "stuck"]);

const plain = (state) => (state || "pending").split(" ")[0];

// What a step's cell shows: what its node last said, in the light of where its batch is. A node that rests says the same
// before the switch and after it, so a word from before the batch began counts as "before".
function stepState(batch, said, began) {
  const state = said ? said[0] : "";
  if (state === "stuck") return "stuck";
  if (batch === "failed") return state && state !== "serving" ? state : "failed";
  if (batch === "passed") return state === "draining" ? "draining" : "done";
  if (batch === "baking") return "baking";
  if (batch === "applying") {
    if (!said || said[3] < began) return "waiting";
    return state === "serving" || state === "absent" ? "done" : state;
  }
  if (state === "staging") return "staging";
  return said ? "staged" : "pending";
}

export function cellsOf(values) {
  const outline = values.get("outline");
  const rollout = values.get("rollout");
  if (!outline || !rollout) return [];
  const groups = new Map();
  for (const batch of outline.batches) {
    if (!groups.has(batch.component)) groups.set(batch.component, []);
    const cells = groups.get(batch.component);
    const state = plain(rollout.batches[batch.id]);
    const entered = (values.get(`t/${batch.id}`) || []).find((entry) => entry[0] === "applying");
    const began = entered ? entered[1] : 0;
    for (const node of batch.nodes) {
      const key = `${node}/${batch.component}`;
      const said = values.get(`s/${key}`);
      cells.push({ key, label: key, group: batch.component, node, batch: batch.id, said, state: stepState(state, said, began) });
    }
  }
  return [...groups.values()].flat();
}

export function Rollout({ id, session, ended }) {
  const live = useLive(id);
  const [node, setNode] = useQuery("node");
  const { values } = live;
  const rollout = values.get("rollout");
  const outline = values.get("outline");
  useMemo(() => (document.title = rollout ? `${rollout.product} ${rollout.version} ${rollout.status} · Bumpless` : "Rollout · Bumpless"), [rollout]);
  if (!rollout)
    return html`<div class="head"><h1>Rollout ${short(id)}</h1><${Connection} live=${live} ended=${ended} /></div>
      <p class="card quiet">${live.state === "missing" ? "Nothing is known of this rollout here: the dashboard keeps the latest ones. `bumpless rollout history` has the whole log." : "Loading…"}</p>`;
  const cells = cellsOf(values);
  const told = (cell) => `${cell.label} in batch ${cell.batch}: ${cell.state}${cell.said ? `. The node says ${cell.said[0]}${cell.said[2] ? `: ${cell.said[2]}` : ""}, at ${clock(cell.said[3])}` : ""}`;
  return html`
    <div class="head">
      <h1>${rollout.product} ${rollout.version}</h1>
      <${Chip} state=${rollout.status} />
      ${rollout.of && html`<a class="tag" href=${`/rollouts/${rollout.of}`}>revert of ${short(rollout.of)}</a>`}
      ${rollout.revert && html`<a class="tag" href=${`/rollouts/${rollout.revert}`}>taken back by ${short(rollout.revert)}</a>`}
      <${Connection} live=${live} ended=${ended} />
    </div>
    <div class="two">
      <${Why} rollout=${rollout} cells=${cells} />
      <${Actions} id=${id} rollout=${rollout} outline=${outline} session=${session} />
    </div>
    <section class="card" id="components" aria-labelledby="h-components"><h2 id="h-components">Components</h2>
      ${outline ? html`<${Graph} outline=${outline} rollout=${rollout} />` : html`<p class="quiet">The plan is not read yet.</p>`}</section>
    <section class="card" id="batches" aria-labelledby="h-batches"><h2 id="h-batches">Batches</h2>
      <${Timeline} rollout=${rollout} outline=${outline} values=${values} /></section>
    <section class="card" id="nodes" aria-labelledby="h-nodes"><h2 id="h-nodes">Nodes</h2>
      <${Grid} cells=${cells} label="Steps, by batch" told=${told} pick=${(cell) => setNode(cell.node)} />
      ${node && html`<${Node} node=${node} cells=${cells} close=${() => setNode("")} />`}</section>
    <section class="card" id="gates" aria-labelledby="h-gates"><h2 id="h-gates">Gates</h2><${Gates} values=${values} /></section>
    <section class="card" id="log" aria-labelledby="h-log"><h2 id="h-log">Events</h2><${Log} values=${values} /></section>`;
}

// Whom a batch that is being applied waits for.
function waitedFor(cells) {
  const names = [...new Set(cells.filter((cell) => BUSY.has(cell.state)).map((cell) => cell.node))].sort(natural);
  if (names.length <= NAMED + 1) return names.join(", ");
  return `${names.slice(0, NAMED).join(", ")} and ${count(names.length - NAMED, "other node")}`;
}

function Why({ rollout, cells }) {
  const now = useNow();
  const over = TERMINAL.has(rollout.status);
  const waited = over ? "" : waitedFor(cells);
  const { act } = rollout;
  return html`<section class=${`card why ${tone(rollout.status)}`} aria-labelledby="h-why">
    <h2 id="h-why">Why it is here</h2>
    <div aria-live="polite">${rollout.why.map((sentence) => html`<p>${sentence}</p>`)}</div>
    <${Bar} done=${rollout.done} total=${rollout.total} status=${rollout.status} />
    <dl>
      <dt>Steps</dt><dd>${rollout.done.toLocaleString()} of ${count(rollout.total, "step")}</dd>
      <dt>Since</dt><dd title=${moment(rollout.since)}>${clock(rollout.since)}${!over && `, for ${span(now - rollout.since)}`}</dd>
      <dt>Until</dt><dd>${rollout.until ? html`${clock(rollout.until)} at the latest${now < rollout.until ? `, in ${span(rollout.until - now)}` : ", which is now"}` : over ? "it is over" : "nothing is waited for"}</dd>
      ${waited && html`<dt>Waits for</dt><dd>${waited}</dd>`}
      ${act && html`<dt>Last order</dt><dd>${act.command}, by ${act.who}, ${clock(act.at)}</dd>`}
      ${rollout.by && html`<dt>Started by</dt><dd>${rollout.by}${rollout.begun && `, ${moment(rollout.begun)}`}</dd>`}
      <dt>Rollout</dt><dd><code>${rollout.id}</code></dd>
    </dl></section>`;
}

function Node({ node, cells, close }) {
  const found = cells.filter((cell) => cell.node === node);
  return html`<div class="node"><h3>${node}</h3><button class="flat" onClick=${close}>Close</button>
    <table><thead><tr><th scope="col">Step</th><th scope="col">Batch</th><th scope="col">State</th><th scope="col">The node says</th></tr></thead>
    <tbody>${found.map((cell) => html`<tr><th scope="row">${cell.label}</th><td>${cell.batch}</td><td>${cell.state}</td>
      <td>${cell.said ? `${cell.said[0]} ${cell.said[2]} (${clock(cell.said[3])})` : "nothing yet"}</td></tr>`)}</tbody></table></div>`;
}
