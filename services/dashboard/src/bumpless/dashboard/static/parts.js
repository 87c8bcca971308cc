// Small things that several pages show.
import { html, useEffect, useReducer, useState } from "./vendor/ui.js";
import { tone } from "./words.js";

const SIGNS = { good: "✓", bad: "✕", warn: "!", work: "›", bake: "◔", idle: "·" };

export const Chip = ({ state }) =>
  html`<span class=${`chip ${tone(state)}`}><span aria-hidden="true">${SIGNS[tone(state)]}</span> ${state}</span>`;

const LINKS = {
  live: html`<span class="dot"></span> live`,
  behind: "The broker cannot be reached. What is shown may be old; trying again…",
  broken: "Connection lost. What is shown may be old; trying again…",
};

// Says whether what is shown is what is.
export function Connection({ live, ended }) {
  useEffect(() => {
    if (live.state === "ended") ended();
  });
  return html`<p class=${`link ${live.state}`} role="status">
    ${LINKS[live.state] || ""}
  </p>`;
}

export function Bar({ done, total, status }) {
  const share = total ? done / total : 0;
  return html`<span class=${`progress ${tone(status)}`} role="progressbar" aria-label="Steps done" aria-valuemin="0"
    aria-valuemax=${total} aria-valuenow=${done}><span style=${{ width: `${100 * share}%` }}></span></span>`;
}

// The present, again every second.
export function useNow() {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

// Grows whenever the colours change: what is drawn on a canvas has to be drawn again.
export function useColours() {
  const [colours, again] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    const themed = new MutationObserver(again);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", again);
    return () => {
      themed.disconnect();
      scheme.removeEventListener("change", again);
    };
  }, []);
  return colours;
}

// A value that lives in the address, so that a link shows the same.
export function useQuery(name) {
  const [value, set] = useState(() => new URLSearchParams(location.search).get(name) || "");
  const change = (next) => {
    const query = new URLSearchParams(location.search);
    if (next) query.set(name, next);
    else query.delete(name);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    set(next);
  };
  return [value, change];
}
