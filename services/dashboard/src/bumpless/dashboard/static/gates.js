// What the gates saw: each rule's numbers on the canary and on what it is compared with, and the evidence against its bound.
import { Chart, html, useEffect, useRef, useState } from "./vendor/ui.js";
import { under } from "./live.js";
import { Chip, useColours } from "./parts.js";
import { clock, number } from "./words.js";

export function Gates({ values }) {
  const gates = under(values, "g/").sort((a, b) => b[1].at - a[1].at);
  const [chosen, choose] = useState("");
  if (!gates.length) return html`<p class="quiet">No gate has looked at anything yet.</p>`;
  const [batch, gate] = gates.find(([name]) => name === chosen) || gates[0];
  const looks = under(values, "p/").map(([, look]) => look).filter((look) => look[0] === batch).sort((a, b) => a[1] - b[1]);
  return html`
    ${gates.length > 1 && html`<div class="tabs" role="group" aria-label="Gates">${gates.slice(0, 30).map(([name, found]) => html`
      <button key=${name} aria-pressed=${name === batch} onClick=${() => choose(name)}>${name} <${Chip} state=${found.verdict || "judging"} /></button>`)}</div>`}
    <p><b>${batch}</b> <${Chip} state=${gate.verdict || "judging"} /> ${gate.detail}</p>
    <div class="rules">${gate.evidence.map((rule) => html`<${Rule} key=${`${batch} ${rule.rule}`} rule=${rule} looks=${looks} />`)}</div>`;
}

function Rule({ rule, looks }) {
  const seen = looks.filter((look) => rule.rule in look[2]);
  const lines = [seen.map((look) => look[1] / 1000), ...[0, 1, 2].map((column) => seen.map((look) => look[2][rule.rule][column]))];
  return html`<article class="rule"><h3>${rule.rule} <${Chip} state=${rule.verdict} />${!rule.decides && html` <span class="tag">does not decide</span>`}</h3>
    <dl class="figures">
      <div><dt>canary</dt><dd>${number(rule.observed)}</dd></div>
      <div><dt>${rule.control || "baseline"}</dt><dd>${number(rule.baseline)}</dd></div>
      <div><dt>limit</dt><dd>${number(rule.limit)}</dd></div>
      <div><dt>samples</dt><dd>${rule.samples.toLocaleString()}</dd></div>
      ${rule.curve && html`<div><dt>evidence</dt><dd>${evidence(rule.curve)}</dd></div>`}
    </dl>
    ${rule.text && html`<p class="small quiet">${rule.text}</p>`}
    <div class="charts">
      ${seen.length > 1 && html`<${Line} title="Canary, baseline and limit over time" data=${lines}
        names=${[["canary", "work", []], ["baseline", "calm", []], ["limit", "bad", [6, 4]]]} />`}
      ${rule.curve && html`<${Line} title="Evidence against its bound (natural logarithm)"
        data=${[rule.curve.points.map((p) => p[0] / 1000), rule.curve.points.map((p) => p[1]), rule.curve.points.map(() => rule.curve.bound)]}
        names=${[["evidence", "work", []], ["bound", "bad", [6, 4]]]} />`}
    </div></article>`;
}

// As an e-value, which is what the bound is of: 20 means that a fair canary would show this much once in 20.
const evidence = ({ points, bound }) => `${number(Math.exp(points[points.length - 1][1]))} of ${number(Math.exp(bound))}`;

function Line({ title, data, names }) {
  const box = useRef(null);
  const chart = useRef(null);
  const colours = useColours();
  const shape = names.map((name) => name[0]).join();
  useEffect(() => {
    const style = getComputedStyle(box.current);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
    chart.current = new Chart({
      width: box.current.clientWidth || 320, height: 170, cursor: { y: false }, legend: { show: false },
      scales: { x: { time: true } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((t) => clock(t * 1000)), space: 80, size: 32 }, { ...axis, size: 56, values: (_, ticks) => ticks.map(number) }],
      series: [{ label: "time", value: (_, t) => (t ? clock(t * 1000) : "–") },
        ...names.map(([label, tone, dash]) => ({ label, stroke: colour(tone), width: 2, dash, points: { show: false }, spanGaps: true, value: (_, v) => number(v) }))],
    }, data, box.current);
    const sized = new ResizeObserver((entries) => chart.current.setSize({ width: Math.floor(entries[0].contentRect.width), height: 170 }));
    sized.observe(box.current);
    return () => {
      sized.disconnect();
      chart.current.destroy();
    };
  }, [shape, colours]);
  useEffect(() => chart.current.setData(data), [data[0].length, data[0][data[0].length - 1]]);
  const last = (line) => number(line[line.length - 1]);
  return html`<figure><figcaption class="small">${title}
      <span class="keys" aria-hidden="true">${names.map(([label, tone, dash]) => html`<span><span class=${`stroke ${tone} ${dash.length ? "dashed" : ""}`}></span>${label}</span>`)}</span></figcaption>
    <div ref=${box} class="chart" role="img" aria-label=${`${title}: now ${names.map((name, place) => `${name[0]} ${last(data[place + 1])}`).join(", ")}`}></div></figure>`;
}
