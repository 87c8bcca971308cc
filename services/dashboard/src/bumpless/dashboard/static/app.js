// The frame around the pages: who is logged in, which page the address names, light or dark.
import { html, render, useCallback, useEffect, useState } from "./vendor/ui.js";
import { Fleet } from "./fleet.js";
import { Rollout } from "./rollout.js";
import { Rollouts } from "./rollouts.js";
import { current, leave, Login } from "./session.js";

const THEMES = ["auto", "light", "dark"];

function useAddress() {
  const [address, set] = useState(location.pathname);
  useEffect(() => {
    const moved = () => set(location.pathname);
    const clicked = (event) => {
      const link = event.target.closest && event.target.closest("a[href^='/']");
      if (!link || link.target || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState(null, "", link.getAttribute("href"));
      moved();
      scrollTo(0, 0);
      document.getElementById("content").focus({ preventScroll: true });
    };
    addEventListener("popstate", moved);
    addEventListener("click", clicked);
    return () => {
      removeEventListener("popstate", moved);
      removeEventListener("click", clicked);
    };
  }, []);
  return address;
}

function useTheme() {
  const [theme, set] = useState(() => localStorage.getItem("theme") || "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  return [theme, () => set(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length])];
}

function Page({ address, session, ended }) {
  const parts = address.split("/").filter(Boolean);
  if (parts[0] === "rollouts" && parts[1])
    return html`<${Rollout} key=${parts[1]} id=${parts[1]} session=${session} ended=${ended} />`;
  if (parts[0] === "fleet") return html`<${Fleet} ended=${ended} />`;
  return html`<${Rollouts} ended=${ended} />`;
}

function App() {
  const [known, setKnown] = useState(null);
  const address = useAddress();
  const [theme, nextTheme] = useTheme();
  useEffect(() => {
    const look = () => current().then(setKnown, () => setKnown({ session: null, error: "the dashboard cannot be reached" }));
    const moved = () => location.hash.startsWith("#login=") && look(); // a link that was opened in this very page
    look();
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const ended = useCallback(() => setKnown({ session: null, error: "The session has ended; log in again." }), []);
  if (known === null) return html`<main><p class="quiet">Loading…</p></main>`;
  if (!known.session) return html`<${Login} error=${known.error} entered=${(session) => setKnown({ session })} />`;
  const here = (prefix) => (address.startsWith(prefix) || (prefix === "/rollouts" && address === "/") ? "page" : null);
  const out = async () => {
    await leave();
    setKnown({ session: null });
  };
  const { session } = known;
  return html`
    <a class="skip" href="#content">To the content</a>
    <header class="bar">
      <span class="brand"><img src="/static/icon.svg" alt="" width="22" height="22" /> Bumpless</span>
      <nav aria-label="Pages">
        <a href="/rollouts" aria-current=${here("/rollouts")}>Rollouts</a>
        <a href="/fleet" aria-current=${here("/fleet")}>Fleet</a>
      </nav>
      <span class="who" title=${`Roles: ${session.roles.join(", ") || "none"}`}>${session.name}</span>
      <button class="flat" onClick=${nextTheme} aria-label=${`Colours: ${theme}`}>${{ auto: "◐", light: "☀", dark: "☾" }[theme]}</button>
      <button class="flat" onClick=${out}>Log out</button>
    </header>
    <main id="content" tabindex="-1"><${Page} address=${address} session=${session} ended=${ended} /></main>
    <footer class="foot"><span>Everything here comes from messages that any tool may read:</span>
      <a href="/asyncapi" target="_self">what they are</a><a href="/asyncapi.json" target="_self">AsyncAPI document</a></footer>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
