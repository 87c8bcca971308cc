// What happened and who acted, the latest first: the log's entries, and when batches came to where they are.
import { html } from "./vendor/ui.js";
import { under } from "./live.js";
import { useQuery } from "./parts.js";
import { clock, count, moment, tone } from "./words.js";

const SHOWN = 200;
const LEVELS = { good: "good", bad: "bad", warn: "warn" };

export function Log({ values }) {
  const [filter, setFilter] = useQuery("log");
  const told = under(values, "e/").map(([id, entry]) => ({ id, ...entry }));
  const moved = under(values, "t/").flatMap(([batch, marks]) => marks.map(([state, at]) => (
    { id: `${batch} ${state}`, at, kind: "batch", who: "", text: `Batch ${batch}: ${state}`, level: LEVELS[tone(state)] || "info" })));
  const entries = [...told, ...moved].sort((a, b) => b.at - a.at);
  const wanted = filter.toLowerCase();
  const shown = entries.filter((entry) => `${entry.kind} ${entry.who} ${entry.text} ${entry.level}`.toLowerCase().includes(wanted));
  return html`
    <div class="tools"><input type="search" aria-label="Filter events" placeholder="Filter: kind, person, batch, text…" value=${filter}
      onInput=${(event) => setFilter(event.target.value)} />
      <span class="quiet" role="status">${count(shown.length, "event")}${wanted && ` of ${entries.length}`}</span></div>
    <ol class="log" tabindex="0" aria-label="Events, the latest first">${shown.slice(0, SHOWN).map((entry) => html`<li key=${entry.id} class=${entry.level}>
      <time datetime=${new Date(entry.at).toISOString()} title=${moment(entry.at)}>${clock(entry.at)}</time>
      <span class="whom">${entry.who}</span><span>${entry.text}</span></li>`)}</ol>
    ${shown.length > SHOWN && html`<p class="small quiet">The latest ${SHOWN}; the filter shows others.</p>`}`;
}
