// Many cells on a canvas: one per node or step, readable at ten thousand. Moved over by pointer or arrow keys; what a cell
// is stands below in words, and is spoken.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/ui.js";
import { useColours } from "./parts.js";

const KINDS = {
  pending: ["idle", "not yet"], staged: ["calm", "fetched"], staging: ["soft", "fetching"], waiting: ["soft", "about to switch"],
  starting: ["work", "starting"], switching: ["work", "switching"], draining: ["work", "draining"], baking: ["bake", "being judged"],
  done: ["good", "done"], serving: ["good", "serving"], failed: ["bad", "failed"], stuck: ["bad", "stuck"],
  drained: ["warn", "drained"], silent: ["warn", "silent"], absent: ["idle", "nothing runs"],
};
const HEIGHT = 420;
const kind = (state) => KINDS[state] || ["idle", state];

function layout(width, number) {
  const size = Math.max(4, Math.min(26, Math.floor(Math.sqrt((width * HEIGHT) / Math.max(1, number)))));
  const columns = Math.max(1, Math.floor(width / size));
  return { size, columns, rows: Math.ceil(number / columns) };
}

function colours(element) {
  const style = getComputedStyle(element);
  return (tone) => style.getPropertyValue(`--${tone}`).trim();
}

function draw(canvas, cells, place, active) {
  const { size, columns, rows } = place;
  const ratio = devicePixelRatio || 1;
  const [width, height] = [columns * size, Math.max(1, rows) * size];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const colour = colours(canvas);
  const gap = size > 9 ? 2 : 1;
  const groups = new Map();
  cells.forEach((cell, index) => {
    const name = kind(cell.state)[0];
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(index);
  });
  for (const [name, found] of groups) {
    pen.fillStyle = colour(name);
    for (const index of found)
      pen.fillRect((index % columns) * size, Math.floor(index / columns) * size, size - gap, size - gap);
  }
  if (active >= 0 && active < cells.length) {
    pen.strokeStyle = colour("text");
    pen.lineWidth = 2;
    pen.strokeRect((active % columns) * size - 0.5, Math.floor(active / columns) * size - 0.5, size, size);
  }
}

export function Grid({ cells, label, told, pick }) {
  const box = useRef(null);
  const canvas = useRef(null);
  const [width, setWidth] = useState(0);
  const [active, setActive] = useState(-1);
  useColours();
  useEffect(() => {
    const sized = new ResizeObserver((entries) => setWidth(Math.floor(entries[0].contentRect.width)));
    sized.observe(box.current);
    return () => sized.disconnect();
  }, []);
  const place = layout(width || 300, cells.length);
  useLayoutEffect(() => {
    if (width > 0) draw(canvas.current, cells, place, active);
  });
  const at = (event) => {
    const [x, y] = [Math.floor(event.offsetX / place.size), Math.floor(event.offsetY / place.size)];
    const index = y * place.columns + x;
    return x < place.columns && index < cells.length ? index : -1;
  };
  const keyed = (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: place.columns, ArrowUp: -place.columns };
    let next = active;
    if (event.key in steps) next = active < 0 ? 0 : active + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = cells.length - 1;
    else if (event.key === "Enter" && active >= 0 && pick) return pick(cells[active]);
    else return;
    event.preventDefault();
    if (next >= 0 && next < cells.length) setActive(next);
  };
  const counts = new Map();
  for (const cell of cells) {
    const [name, words] = kind(cell.state);
    const known = counts.get(words) || [name, 0];
    counts.set(words, [name, known[1] + 1]);
  }
  const cell = cells[active];
  return html`
    <div ref=${box} class="grid" tabindex="0" role="application" aria-roledescription="grid of nodes"
      aria-label=${`${label}: ${cells.length.toLocaleString()}. Arrow keys move from one to the next.`} onKeyDown=${keyed} data-cells=${cells.length}>
      <canvas ref=${canvas} aria-hidden="true" onPointerMove=${(event) => setActive(at(event))}
        onClick=${(event) => { const index = at(event); if (index >= 0) { setActive(index); if (pick) pick(cells[index]); } }}></canvas>
    </div>
    <p class="told" aria-live="polite">${cell ? told(cell) : html`<span class="quiet">Point at a cell, or move with the arrow keys, to see what it is.</span>`}</p>
    <ul class="legend" aria-label="How many are in which state">${[...counts].map(([words, [name, n]]) => html`
      <li><span class=${`swatch ${name}`}></span>${words} <b>${n.toLocaleString()}</b></li>`)}</ul>`;
}
