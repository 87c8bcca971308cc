// What each node runs, as it said itself.
import { html, useMemo } from "./vendor/ui.js";
import { Grid } from "./grid.js";
import { useLive } from "./live.js";
import { Chip, Connection, useNow, useQuery } from "./parts.js";
import { count, moment, natural, span } from "./words.js";

const SHOWN = 100;
const SILENT_MS = 5 * 60_000;

function worst(row, now) {
  const states = Object.values(row.components).map((part) => part[1]);
  if (states.includes("stuck")) return "stuck";
  if (row.drain) return "drained";
  if (now - row.seen > SILENT_MS) return "silent";
  return states.find((state) => !["serving", "absent"].includes(state)) || (states.includes("serving") ? "serving" : "absent");
}

export function Fleet({ ended }) {
  const live = useLive("fleet");
  const [filter, setFilter] = useQuery("q");
  const now = Math.floor(useNow() / 10_000) * 10_000;
  useMemo(() => (document.title = "Fleet · Bumpless"), []);
  const rows = [...live.values].map(([name, row]) => ({ name, ...row, state: worst(row, now) }));
  rows.sort((a, b) => natural(a.name, b.name));
  const wanted = filter.toLowerCase();
  const fits = (row) => text(row).includes(wanted);
  const shown = wanted ? rows.filter(fits) : rows;
  const cells = shown.map((row) => ({ key: row.name, label: row.name, state: row.state }));
  const told = (cell) => {
    const row = live.values.get(cell.key);
    return row ? `${cell.label}: ${cell.state}. ${runs(row) || "nothing runs"}` : cell.label;
  };
  return html`
    <div class="head"><h1>Fleet</h1><${Connection} live=${live} ended=${ended} /></div>
    <div class="tools">
      <input type="search" aria-label="Filter nodes" placeholder="Filter: node, label, component, version, state…" value=${filter}
        onInput=${(event) => setFilter(event.target.value)} />
      <span class="quiet">${count(shown.length, "node")}${wanted && ` of ${rows.length.toLocaleString()}`}</span>
    </div>
    <${Versions} rows=${shown} />
    <section class="card" aria-label="Nodes by state"><${Grid} cells=${cells} label="Nodes" told=${told} pick=${(cell) => setFilter(cell.key)} /></section>
    <section class="card table" tabindex="0" aria-label="Table of nodes"><table>
      <caption class="quiet small">${shown.length > SHOWN ? `The first ${SHOWN}; the filter shows others.` : ""}</caption>
      <thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Runs</th><th scope="col">Labels</th><th scope="col">Said so</th></tr></thead>
      <tbody>${shown.slice(0, SHOWN).map((row) => html`<tr key=${row.name}>
        <th scope="row">${row.name}<div class="quiet small">${row.address}</div></th>
        <td><${Chip} state=${row.state} />${row.drain && html`<div class="small quiet">${row.drain}</div>`}</td>
        <td>${Object.entries(row.components).map(([name, [version, state, root, reason]]) => html`<div>
          ${name} <b>${version || "–"}</b> <code class="quiet small" title="Digest that the node observed">${root}</code>
          ${state !== "serving" && html` <${Chip} state=${state} />`}${reason && html`<div class="small fault">${reason}</div>`}</div>`)}</td>
        <td class="small quiet">${Object.entries(row.labels).map(([key, value]) => `${key}=${value}`).join(" ")}</td>
        <td class="small quiet" title=${moment(row.seen)}>${now - row.seen < 120_000 ? "now" : `${span(now - row.seen)} ago`}</td>
      </tr>`)}</tbody></table></section>`;
}

const runs = (row) => Object.entries(row.components).map(([name, part]) => `${name} ${part[0] || "–"} ${part[1]}`).join(", ");
const text = (row) =>
  `${row.name} ${row.address} ${row.state} ${runs(row)} ${Object.entries(row.labels).map((pair) => pair.join("=")).join(" ")}`.toLowerCase();

function Versions({ rows }) {
  const found = new Map();
  for (const row of rows)
    for (const [name, [version]] of Object.entries(row.components)) {
      const counts = found.get(name) || found.set(name, new Map()).get(name);
      counts.set(version || "none", (counts.get(version || "none") || 0) + 1);
    }
  return html`<ul class="tiles" aria-label="Versions">${[...found].sort((a, b) => natural(a[0], b[0])).map(([name, counts]) => html`
    <li class="card"><h2>${name}</h2>${[...counts].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([version, n]) => html`
      <div class="split"><span>${version}</span><span class="quiet">${count(n, "node")}</span></div>`)}</li>`)}</ul>`;
}
