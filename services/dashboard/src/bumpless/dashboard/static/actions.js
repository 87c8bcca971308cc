// The operator's buttons. Each asks for a reason first, and says what the service answered.
import { html, useEffect, useRef, useState } from "./vendor/ui.js";
import { post } from "./session.js";
import { TERMINAL } from "./words.js";

const open = (rollout) => !TERMINAL.has(rollout.status) && rollout.status !== "failed";
const some = (rollout, state) => Object.entries(rollout.batches).filter(([, found]) => found.startsWith(state)).map(([name]) => name);
// The plan as a whole, or a batch of it.
const awaited = (r, o) => !!o && open(r) && (some(r, "awaiting-approval").length > 0 || (r.status === "planned" && o.approval));

const ORDERS = [
  { name: "pause", does: "No further batch starts; those under way come to rest.", fits: (r) => open(r) && r.status !== "paused" },
  { name: "resume", does: "The rollout goes on.", fits: (r) => r.status === "paused" },
  { name: "promote", does: "Takes a baking batch as passed, without waiting for its gate.", fits: (r) => open(r) && some(r, "baking").length > 0, batches: "baking" },
  { name: "approve", role: "approver", does: "Lets the plan that is shown here start, or one batch of it.", fits: awaited, batches: "awaiting-approval", hash: true },
  { name: "deny", role: "approver", does: "Refuses what waits: the rollout is cancelled; a batch fails, and the rollback policy decides.",
    fits: awaited, batches: "awaiting-approval", hash: true, grave: true },
  { name: "abort", does: "Stops the rollout as failed. Its rollback policy decides what follows.", fits: open, grave: true },
  { name: "retry", does: "Plans the same release again, from what the fleet runs now.", fits: (r) => !r.of && (r.status === "failed" || TERMINAL.has(r.status)) && r.status !== "succeeded" },
  { name: "rollback", does: "Takes back what the rollout did, in reverse order.", fits: (r) => !r.of && !["reverted", "cancelled", "planned"].includes(r.status), grave: true },
];

export function Actions({ id, rollout, outline, session }) {
  const [asked, ask] = useState(null);
  const [answer, setAnswer] = useState(null);
  const may = (order) => session.roles.includes(order.role || "operator");
  const fitting = ORDERS.filter((order) => order.fits(rollout, outline));
  const usable = fitting.filter(may);
  return html`<section class="card actions" aria-labelledby="h-actions"><h2 id="h-actions">Orders</h2>
    <div class="buttons">${usable.map((order) => html`
      <div class="order" key=${order.name}><button class=${order.grave ? "grave" : ""} aria-describedby=${`does-${order.name}`}
        onClick=${() => { setAnswer(null); ask(order); }}>${order.name}</button><span id=${`does-${order.name}`} class="small quiet">${order.does}</span></div>`)}</div>
    ${!usable.length && html`<p class="quiet">${fitting.length ? `Your roles (${session.roles.join(", ") || "none"}) let you look only.` : "There is nothing to order now."}</p>`}
    <p role="status" class=${`answer ${answer && !answer.accepted ? "fault" : ""}`}>${answer && `${answer.accepted ? "Accepted" : "Refused"}: ${answer.text}`}</p>
    ${asked && html`<${Ask} key=${asked.name} id=${id} order=${asked} rollout=${rollout} outline=${outline}
      done=${(said) => { ask(null); if (said) setAnswer(said); }} />`}
  </section>`;
}

function Ask({ id, order, rollout, outline, done }) {
  const dialog = useRef(null);
  const reason = useRef(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    reason.current.focus();
    return () => before && before.focus();
  }, []);
  const batches = order.batches ? some(rollout, order.batches) : [];
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const wish = { reason: form.get("reason").trim() };
    if (form.get("batch")) wish.batch = form.get("batch");
    if (order.hash) wish.plan_hash = outline.hash;
    setBusy(true);
    const { value, error } = await post(`/api/rollouts/${encodeURIComponent(id)}/${order.name}`, wish);
    setBusy(false);
    if (value) done(value);
    else setError(error);
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask-title" onClose=${() => done(null)}>
    <form onSubmit=${submit}>
      <h2 id="ask-title">${order.name} ${rollout.product} ${rollout.version}?</h2>
      <p>${order.does}</p>
      ${order.hash && html`<p class="small quiet">Plan <code>${outline.hash}</code></p>`}
      ${batches.length > 0 && html`<label>Batch <select name="batch"><option value="">${order.hash ? "the plan" : "every one"}</option>
        ${batches.map((name) => html`<option value=${name} selected=${batches.length === 1}>${name}</option>`)}</select></label>`}
      <label>Reason, for the log <textarea ref=${reason} name="reason" required maxlength="1000" rows="3"></textarea></label>
      <p role="alert" class="fault">${error}</p>
      <div class="buttons end"><button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        <button class=${order.grave ? "main grave" : "main"} disabled=${busy}>${busy ? "Waiting for the answer…" : `Yes, ${order.name}`}</button></div>
    </form></dialog>`;
}
