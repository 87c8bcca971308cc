// Counters, gauges and histograms in the Prometheus text format 0.0.4.

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
export const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const escape = (text) => String(text).replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');

function series(name, labels, value) {
  const inside = Object.entries(labels).map(([key, text]) => `${key}="${escape(text)}"`).join(',');
  return `${name}${inside ? `{${inside}}` : ''} ${value}`;
}

class Series {
  values = new Map();

  constructor(name, help, kind, read) {
    Object.assign(this, { name, help, kind, read });
  }

  inc(labels = {}, by = 1) {
    const key = JSON.stringify(labels);
    this.values.set(key, (this.values.get(key) ?? 0) + by);
  }

  set(value, labels = {}) { this.values.set(JSON.stringify(labels), value); }

  lines() {
    if (this.read) return [series(this.name, {}, this.read())];
    return [...this.values].map(([key, value]) => series(this.name, JSON.parse(key), value));
  }
}

class Histogram {
  kind = 'histogram';
  #counts;
  #sum = 0;
  #count = 0;

  constructor(name, help, buckets) {
    Object.assign(this, { name, help, buckets });
    this.#counts = buckets.map(() => 0);
  }

  observe(value) {
    this.#sum += value;
    this.#count += 1;
    this.buckets.forEach((bound, at) => { if (value <= bound) this.#counts[at] += 1; });
  }

  lines() {
    return [
      ...this.buckets.map((bound, at) => series(`${this.name}_bucket`, { le: String(bound) }, this.#counts[at])),
      series(`${this.name}_bucket`, { le: '+Inf' }, this.#count),
      series(`${this.name}_sum`, {}, this.#sum),
      series(`${this.name}_count`, {}, this.#count),
    ];
  }
}

export class Metrics {
  #all = [];

  counter(name, help) { return this.#add(new Series(name, help, 'counter')); }

  gauge(name, help, read) { return this.#add(new Series(name, help, 'gauge', read)); }

  histogram(name, help, buckets = BUCKETS) { return this.#add(new Histogram(name, help, buckets)); }

  expose() {
    return this.#all.flatMap((one) => [`# HELP ${one.name} ${one.help}`, `# TYPE ${one.name} ${one.kind}`, ...one.lines()]).join('\n') + '\n';
  }

  #add(one) {
    this.#all.push(one);
    return one;
  }
}
