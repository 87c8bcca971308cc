// When batches were applied and judged, on one line of time; those to come stand below as names.
import { html } from "./vendor/ui.js";
import { useNow, Chip } from "./parts.js";
import { clock, span, TERMINAL, tone } from "./words.js";

const SHOWN = 60;

export function Timeline({ rollout, outline, values }) {
  const now = useNow();
  const over = TERMINAL.has(rollout.status);
  const details = new Map((outline ? outline.batches : []).map((batch) => [batch.id, batch]));
  const names = outline ? outline.batches.map((batch) => batch.id) : Object.keys(rollout.batches);
  const rows = names.map((name) => ({ name, state: rollout.batches[name] || "pending", marks: values.get(`t/${name}`) || [] }));
  const begun = rows.filter((row) => row.marks.length);
  const all = begun.flatMap((row) => row.marks.map((mark) => mark[1]));
  const first = Math.min(...all);
  const last = over ? Math.max(...all, first + 1000) : Math.max(now, first + 1000);
  const share = (at) => (100 * (at - first)) / (last - first);
  const shown = begun.slice(-SHOWN);
  const later = rows.filter((row) => !row.marks.length);
  const pieces = (row) => row.marks.slice(0, row.marks.length).map(([state, at], number) => {
    const next = row.marks[number + 1];
    const resting = ["passed", "failed"].includes(state);
    const end = next ? next[1] : resting ? at : last;
    return { state, at, end };
  }).filter((piece) => piece.end > piece.at);
  return html`
    ${shown.length > 0 && html`<div class="axis quiet small" aria-hidden="true"><span>${clock(first)}</span><span>${over ? clock(last) : "now"}</span></div>`}
    <ul class="timeline">${shown.map((row) => html`<li key=${row.name}>
      <span class="name">${row.name}${details.get(row.name)?.canary && html` <span class="tag">canary</span>`}</span>
      <span class="track" role="img" aria-label=${row.marks.map(([state, at]) => `${state} at ${clock(at)}`).join(", ")}>
        ${pieces(row).map((piece) => html`<span class=${`piece ${tone(piece.state)}`} title=${`${piece.state} ${span(piece.end - piece.at)}`}
          style=${{ left: `${share(piece.at)}%`, width: `${share(piece.end) - share(piece.at)}%` }}></span>`)}
      </span>
      <${Chip} state=${row.state} /></li>`)}</ul>
    ${shown.length > 0 && html`<ul class="legend" aria-label="Colours"><li><span class="swatch work"></span>being applied</li><li><span class="swatch bake"></span>judged by its gate</li></ul>`}
    ${later.length > 0 && html`<p class="small quiet">${begun.length ? "Still to come" : "To come"}: ${later.slice(0, 12).map((row) => row.name).join(", ")}${later.length > 12 ? ` and ${later.length - 12} more` : ""}</p>`}`;
}
