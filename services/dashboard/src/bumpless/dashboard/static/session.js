// Who is logged in, and requests that change something.
import { html, useEffect, useRef, useState } from "./vendor/ui.js";

let csrf = "";

export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify(body),
    });
  } catch {
    return { error: "the dashboard cannot be reached" };
  }
  const said = await answer.json().catch(() => null);
  return answer.ok ? { value: said } : { error: (said && said.error) || `refused with ${answer.status}` };
}

function taken(session) {
  csrf = session ? session.csrf : "";
  return session;
}

export async function current() {
  const token = new URLSearchParams(location.hash.slice(1)).get("login");
  if (token) {
    history.replaceState(null, "", location.pathname + location.search); // not into the history, not shared by mistake
    const { value, error } = await post("/api/login", { token });
    if (value) return { session: taken(value) };
    const known = await (await fetch("/api/session")).json();
    return { session: taken(known), error: known ? "" : error };
  }
  return { session: taken(await (await fetch("/api/session")).json()) };
}

export async function leave() {
  await post("/api/logout", {});
  taken(null);
}

export function Login({ error: before, entered }) {
  const [error, setError] = useState(before || "");
  const [busy, setBusy] = useState(false);
  const name = useRef(null);
  useEffect(() => name.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    const form = new FormData(event.target);
    const { value, error } = await post("/api/login", { name: form.get("name"), password: form.get("password") });
    setBusy(false);
    if (value) entered(taken(value));
    else setError(error);
  };
  return html`<main class="login">
    <form onSubmit=${submit} class="card" aria-labelledby="login-title">
      <h1 id="login-title">Bumpless</h1>
      <p class="quiet">Log in to see and steer rollouts.</p>
      <label>Name <input ref=${name} name="name" autocomplete="username" required maxlength="64" /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      <p role="alert" class="fault">${error}</p>
      <button class="main" disabled=${busy}>${busy ? "Logging in…" : "Log in"}</button>
      <p class="quiet small">No account? On the machine of the control plane, <code>bumpless dashboard link</code> makes a link.</p>
    </form>
  </main>`;
}
