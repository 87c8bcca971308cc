// Every rollout and revert, the latest first.
import { html, useMemo } from "./vendor/ui.js";
import { useLive } from "./live.js";
import { Bar, Chip, Connection, useNow, useQuery } from "./parts.js";
import { count, moment, short, span, TERMINAL } from "./words.js";

export function Rollouts({ ended }) {
  const live = useLive("rollouts");
  const [filter, setFilter] = useQuery("q");
  const now = useNow();
  const rows = [...live.values.values()].sort((a, b) => (b.begun || b.since) - (a.begun || a.since));
  const wanted = filter.toLowerCase();
  const shown = rows.filter((row) =>
    [row.id, row.product, row.version, row.status, row.by, row.reason].join(" ").toLowerCase().includes(wanted));
  const active = rows.filter((row) => !TERMINAL.has(row.status)).length;
  useMemo(() => (document.title = "Rollouts · Bumpless"), []);
  return html`
    <div class="head"><h1>Rollouts</h1><${Connection} live=${live} ended=${ended} /></div>
    <div class="tools">
      <input type="search" aria-label="Filter rollouts" placeholder="Filter: product, version, status, person…" value=${filter}
        onInput=${(event) => setFilter(event.target.value)} />
      <span class="quiet">${count(rows.length, "rollout")}, ${active} under way</span>
    </div>
    ${shown.length === 0 && html`<p class="card quiet">${rows.length ? "None fits the filter." : "No rollout yet. bumpless release publish starts one."}</p>`}
    <ul class="rows">${shown.slice(0, 200).map((row) => html`<${Row} key=${row.id} row=${row} now=${now} />`)}</ul>`;
}

function Row({ row, now }) {
  const over = TERMINAL.has(row.status);
  return html`<li class="card row">
    <a class="name" href=${`/rollouts/${row.id}`}>${row.product} ${row.version}</a>
    ${row.of && html`<span class="tag">revert of ${short(row.of)}</span>`}
    <${Chip} state=${row.status} />
    <${Bar} done=${row.done} total=${row.total} status=${row.status} />
    <span class="quiet small">${row.done} of ${count(row.total, "step")}</span>
    <span class="quiet small">${over ? moment(row.since) : `since ${span(now - row.since)}`}${row.by && ` · ${row.by}`}</span>
    <code class="quiet small">${short(row.id)}</code>
    ${row.reason && html`<span class="reason small">${row.reason}</span>`}
  </li>`;
}
