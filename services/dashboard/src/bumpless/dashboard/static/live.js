// A topic of the server, kept up to date: a snapshot, then numbered changes. A broken connection goes on after the last
// number that came; where the server no longer has what follows, a new snapshot is taken.
import { useEffect, useReducer, useRef } from "./vendor/ui.js";

const AGAIN_MS = 1500;

export class Live {
  constructor(topic, changed) {
    this.url = `/api/topics/${encodeURIComponent(topic)}`;
    this.changed = changed;
    this.values = new Map();
    this.state = "loading"; // live, behind (the broker is away), broken, missing, ended
    this.source = null;
    this.timer = null;
    this.frame = null;
    this.closed = false;
    this.snapshot();
  }

  async snapshot() {
    try {
      const answer = await fetch(this.url, { headers: { Accept: "application/json" } });
      if (this.closed) return;
      if (answer.status === 401) return this.become("ended");
      if (!answer.ok) {
        this.become(answer.status === 404 ? "missing" : "broken");
        return this.again();
      }
      const mark = answer.headers.get("X-Mark");
      const { values } = await answer.json();
      if (this.closed) return;
      this.values = new Map(Object.entries(values));
      this.become("live");
      this.listen(mark);
    } catch {
      if (this.closed) return;
      this.become("broken");
      this.again();
    }
  }

  listen(mark) {
    this.source = new EventSource(`${this.url}/changes?after=${encodeURIComponent(mark)}`);
    this.source.addEventListener("open", () => this.become("live"));
    this.source.addEventListener("change", (event) => {
      for (const [key, value] of Object.entries(JSON.parse(event.data).values)) {
        if (value === null) this.values.delete(key);
        else this.values.set(key, value);
      }
      this.tell();
    });
    this.source.addEventListener("broker", (event) => this.become(event.data === "away" ? "behind" : "live"));
    this.source.addEventListener("stale", () => {
      this.source.close();
      this.snapshot();
    });
    this.source.addEventListener("ended", () => {
      this.source.close();
      this.become("ended");
    });
    this.source.addEventListener("error", () => {
      this.become("broken");
      if (this.source.readyState === EventSource.CLOSED) this.again(); // refused: ask why with a snapshot
    });
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.snapshot(), AGAIN_MS);
  }

  become(state) {
    this.state = state;
    this.tell();
  }

  // Once per picture on the screen, however many changes came; at once where nothing is drawn.
  tell() {
    if (this.frame !== null) return;
    const now = () => {
      this.frame = null;
      if (!this.closed) this.changed();
    };
    this.frame = document.hidden ? setTimeout(now, 250) : requestAnimationFrame(now);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    if (this.source) this.source.close();
  }
}

export function useLive(topic) {
  const [, again] = useReducer((count) => count + 1, 0);
  const held = useRef(null);
  if (held.current === null || held.current.topic !== topic) {
    if (held.current) held.current.live.close();
    held.current = { topic, live: new Live(topic, again) };
  }
  useEffect(() => () => {
    held.current.live.close();
    held.current = null;
  }, []);
  return held.current.live;
}

export function under(values, prefix) {
  const found = [];
  for (const [key, value] of values) if (key.startsWith(prefix)) found.push([key.slice(prefix.length), value]);
  return found;
}
