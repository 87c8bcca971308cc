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
const NAME_HEIGHT = 28;
const kind = (state) => KINDS[state] || ["idle", state];

// Cells in lines, each group of them below its name where there are several.
function layout(width, cells) {
  const size = Math.max(4, Math.min(26, Math.floor(Math.sqrt((width * HEIGHT) / Math.max(1, cells.length)))));
  const columns = Math.max(1, Math.floor(width / size));
  const groups = [];
  cells.forEach((cell, index) => {
    if (!groups.length || groups[groups.length - 1].name !== cell.group) groups.push({ name: cell.group, first: index, count: 0 });
    groups[groups.length - 1].count++;
  });
  const [lines, names] = [[], []];
  let height = 0;
  for (const { name, first, count } of groups) {
    if (groups.length > 1) {
      names.push({ name, count, top: height });
      height += NAME_HEIGHT;
    }
    for (let at = 0; at < count; at += columns, height += size)
      lines.push({ first: first + at, count: Math.min(columns, count - at), top: height });
  }
  return { size, columns, lines, names, height };
}

function colours(element) {
  const style = getComputedStyle(element);
  return (tone) => style.getPropertyValue(`--${tone}`).trim();
}

function draw(canvas, cells, place, active) {
  const { size, columns, lines, names } = place;
  const ratio = devicePixelRatio || 1;
  const [width, height] = [columns * size, Math.max(size, place.height)];
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
  pen.fillStyle = colour("quiet");
  pen.font = `13px ${getComputedStyle(canvas).fontFamily}`;
  for (const { name, count, top } of names) pen.fillText(`${name}, ${count.toLocaleString()}`, 0, top + NAME_HEIGHT - 7, width);
  const tones = new Map();
  for (const { first, count, top } of lines)
    for (let x = 0; x < count; x++) {
      const name = kind(cells[first + x].state)[0];
      if (!tones.has(name)) tones.set(name, []);
      tones.get(name).push(x * size, top);
    }
  for (const [name, found] of tones) {
    pen.fillStyle = colour(name);
    for (let i = 0; i < found.length; i += 2) pen.fillRect(found[i], found[i + 1], size - gap, size - gap);
  }
  const line = lineOf(lines, active);
  if (line) {
    pen.strokeStyle = colour("text");
    pen.lineWidth = 2;
    pen.strokeRect((active - line.first) * size - 0.5, line.top - 0.5, size, size);
  }
}

const lineOf = (lines, index) => lines.find((line) => index >= line.first && index < line.first + line.count);

// The cell above or below, or the last one of a line that is shorter.
function beside(lines, index, step) {
  const number = lines.indexOf(lineOf(lines, index));
  const next = lines[number + step];
  return next ? next.first + Math.min(index - lines[number].first, next.count - 1) : index;
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
  const place = layout(width || 300, cells);
  useLayoutEffect(() => {
    if (width > 0) draw(canvas.current, cells, place, active);
  });
  const at = (event) => {
    const x = Math.floor(event.offsetX / place.size);
    const line = place.lines.find(({ top }) => event.offsetY >= top && event.offsetY < top + place.size);
    return line && x >= 0 && x < line.count ? line.first + x : -1;
  };
  const keyed = (event) => {
    const [across, down] = [{ ArrowRight: 1, ArrowLeft: -1 }[event.key], { ArrowDown: 1, ArrowUp: -1 }[event.key]];
    let next = active;
    if (across || down) next = active < 0 ? 0 : down ? beside(place.lines, active, down) : active + across;
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
