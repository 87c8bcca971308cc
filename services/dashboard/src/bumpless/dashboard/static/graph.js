// The components, what waits for what, and how far each is: a box per component with a field per batch.
import { html } from "./vendor/ui.js";
import { count, tone } from "./words.js";

const [W, H, GAP_X, GAP_Y] = [206, 82, 56, 18];
const LONGEST = 26;

// The versions that a component leaves, and the one it is brought to.
function moves(part) {
  const [first, last] = [part.batches[0], part.batches[part.batches.length - 1]];
  const [before, after] = [first.before.join(", "), last.after.join(", ")];
  return before && after ? `${before} → ${after}` : after ? `new: ${after}` : `${before}, taken away`;
}

const cut = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text);

// Components, the ones each waits for, and its column: one more than the furthest of those.
function arranged(outline) {
  const parts = new Map();
  const owner = new Map();
  for (const batch of outline.batches) {
    owner.set(batch.id, batch.component);
    if (!parts.has(batch.component)) parts.set(batch.component, { name: batch.component, batches: [], needs: new Set(), nodes: 0 });
    const part = parts.get(batch.component);
    part.batches.push(batch);
    part.nodes += batch.nodes.length;
  }
  for (const batch of outline.batches)
    for (const need of batch.needs)
      if (owner.get(need) && owner.get(need) !== batch.component) parts.get(batch.component).needs.add(owner.get(need));
  const column = (part, seen) => {
    if (part.column !== undefined || seen.has(part.name)) return part.column || 0; // two that wait for each other, hop by hop
    seen.add(part.name);
    part.column = Math.max(-1, ...[...part.needs].map((name) => column(parts.get(name), seen))) + 1;
    return part.column;
  };
  const rows = [];
  for (const part of parts.values()) {
    column(part, new Set());
    rows[part.column] = rows[part.column] || 0;
    part.row = rows[part.column]++;
  }
  return [...parts.values()];
}

const worst = ["failed", "awaiting-approval", "applying", "baking", "pending", "passed"];
const stateOf = (batches, states) =>
  worst.find((state) => batches.some((batch) => (states[batch.id] || "pending").startsWith(state))
    && !(state === "pending" && batches.some((batch) => (states[batch.id] || "").startsWith("passed")))) || "applying";

export function Graph({ outline, rollout }) {
  const parts = arranged(outline);
  const place = new Map(parts.map((part) => [part.name, [part.column * (W + GAP_X), part.row * (H + GAP_Y)]]));
  const width = Math.max(...parts.map((part) => (part.column + 1) * (W + GAP_X))) - GAP_X;
  const height = Math.max(...parts.map((part) => (part.row + 1) * (H + GAP_Y))) - GAP_Y;
  const edges = parts.flatMap((part) => [...part.needs].map((need) => [place.get(need), place.get(part.name)]));
  const said = parts.map((part) => `${part.name} ${moves(part)}: ${stateOf(part.batches, rollout.batches)}${part.needs.size ? ` after ${[...part.needs].join(", ")}` : ""}`);
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Component graph">
    <svg class="graph" role="img" aria-label=${said.join("; ")} viewBox=${`-2 -2 ${width + 4} ${height + 4}`} width=${width + 4} height=${height + 4}>
    ${edges.map(([[x1, y1], [x2, y2]]) => {
      const [a, b, c, d] = [x1 + W, y1 + H / 2, x2, y2 + H / 2];
      return html`<path class="edge" d=${`M${a} ${b}C${a + GAP_X / 2} ${b} ${c - GAP_X / 2} ${d} ${c - 5} ${d}`} />
        <path class="tip" d=${`M${c} ${d}l-7 -4v8z`} />`;
    })}
    ${parts.map((part) => {
      const [x, y] = place.get(part.name);
      const state = stateOf(part.batches, rollout.batches);
      const field = (W - 24) / part.batches.length;
      return html`<g transform=${`translate(${x} ${y})`}>
        <rect class=${`box ${tone(state)}`} width=${W} height=${H} rx="8" />
        <text class="name" x="12" y="21">${cut(part.name)}</text>
        <text class="version" x="12" y="39">${cut(moves(part))}<title>${moves(part)}</title></text>
        <text class="state" x="12" y="56">${state}, ${count(part.nodes, "step")}</text>
        ${part.batches.map((batch, number) => html`<rect class=${`field ${tone(rollout.batches[batch.id])}`} x=${12 + number * field} y="65"
          width=${Math.max(1, field - (field > 4 ? 2 : 0))} height="8" rx="2"><title>${batch.id}: ${rollout.batches[batch.id] || "pending"}</title></rect>`)}
      </g>`;
    })}</svg></div>`;
}
