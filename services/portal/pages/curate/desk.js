// The desk: one input at a time, a person's word on it, and the way back.

import { get, post, Refusal } from "../../static/lib/api.js";
import { announce, el } from "../../static/lib/dom.js";
import { labelTitle } from "../../static/lib/labels.js";
import { problemBox } from "../../static/lib/problems.js";
import { t } from "../../static/lib/texts.js";
import { card, said } from "./card.js";
import { content } from "./content.js";
import { emptyQueue } from "./empty.js";
import { listen } from "./keys.js";
import { progress } from "./progress.js";

const PAGE = 20;
const AHEAD = 3;
const LOOK_AGAIN_MS = 15_000;
const GONE = "unknown-input";
// What no version may learn from, whatever one says of it: it is set aside, and one goes on.
const HOPELESS = {
  erased: "curate.erased",
  "held-out": "curate.held-out",
  "known-sample": "curate.known-sample",
  unreadable: "curate.unreadable",
};
const TOLD = {
  ...HOPELESS,
  [GONE]: "curate.unknown-input",
  "labelled-otherwise": "curate.labelled-otherwise",
  "learned-from": "curate.learned-from",
  "no-answer": "curate.no-answer",
};

/** The desk of a model, at work; `signedOut` is called where the session has ended. */
export async function desk(model, signedOut) {
  const stage = el("div", { className: "stage" });
  const panel = el("div", { className: "panel" });
  const tally = el("aside", { className: "tally", ariaLabel: t("curate.labels") });
  const root = el("div", { className: "desk" }, stage, panel, tally);
  const queue = { items: [], next: null };
  let at = 0;
  let busy = false;
  let acts = {};

  /** One thing at a time; where something goes wrong, it is told in the panel. */
  async function guarded(act) {
    if (busy) return;
    busy = true;
    try {
      await act();
    } catch (error) {
      acts = {};
      if (error instanceof Refusal && [401, 403].includes(error.status)) signedOut();
      else panel.replaceChildren(problemBox(error, () => guarded(show)));
    } finally {
      busy = false;
    }
  }

  /** Read the page that follows; after the last, look from the start for what came since. */
  async function read() {
    const before = queue.next ? `&before=${encodeURIComponent(queue.next)}` : "";
    const { inputs, ...rest } = await get(`/api/${model.name}/queue?limit=${PAGE}${before}`);
    const known = new Set(queue.items.map((item) => item.prediction_id));
    queue.items.push(...inputs.filter((item) => !known.has(item.prediction_id)));
    Object.assign(queue, rest);
  }

  async function show({ told = null, focus = true } = {}) {
    if (at + AHEAD >= queue.items.length) await read();
    const item = queue.items[at];
    tally.replaceChildren(progress(model, queue));
    root.classList.toggle("empty", !item);
    acts = { back: at > 0 ? () => move(-1) : null };
    const shown = item
      ? card(model, item, told, { ...acts, say, forward: forwardFrom(item) })
      : emptyQueue(queue, told, acts);
    panel.replaceChildren(shown.element);
    if (focus) shown.heading.focus({ preventScroll: true });
    if (root.getBoundingClientRect().top < 0) root.scrollIntoView();
    if (item) present(item, shown);
    else setTimeout(lookAgain, LOOK_AGAIN_MS, at);
  }

  /** Put the input itself on the stage. Until it is seen, nothing can be said of it. */
  async function present(item, shown) {
    const spinner = el("span", { className: "spinner", ariaHidden: "true" });
    stage.replaceChildren(el("p", { className: "waiting" }, spinner, t("curate.loading")));
    const seen = await content(model, item);
    if (queue.items[at] !== item) return;
    stage.replaceChildren(seen);
    acts = { ...acts, say, forward: forwardFrom(item) };
    shown.enable();
    for (const later of queue.items.slice(at + 1, at + AHEAD)) content(model, later);
  }

  function lookAgain(place) {
    if (at === place && !queue.items[at] && root.isConnected) guarded(() => show({ focus: false }));
  }

  function move(by) {
    return guarded(() => {
      at += by;
      return show();
    });
  }

  function forwardFrom(item) {
    return item.review === "waiting" ? null : () => move(1);
  }

  function say(decision, label = null) {
    return guarded(() => decide(queue.items[at], decision, label));
  }

  async function decide(item, decision, label) {
    let told;
    try {
      told = took(item, await send(item, decision, label));
    } catch (error) {
      if (!(error instanceof Refusal) || !(error.code in TOLD)) throw error;
      told = t(TOLD[error.code], { label: labelTitle(model, error.problem.label ?? "") });
      if (error.code === GONE) forget(item);
      else if (error.code in HOPELESS) took(item, await send(item, "refuse"));
      else at -= 1;
    }
    at += 1;
    announce(told);
    await show({ told });
  }

  function send(item, decision, label) {
    const body = JSON.stringify(decision === "relabel" ? { decision, label } : { decision });
    return post(`/api/${model.name}/inputs/${item.prediction_id}/review`, body, { type: "application/json" });
  }

  /** Count what was said as the next page will tell it; returns it in words. */
  function took(item, now) {
    const count = (label, what, by) => {
      const row = queue.labels.find((one) => one.label === label);
      if (row) row[what] += by;
    };
    queue.counts[item.review] -= 1;
    queue.counts[now.review] += 1;
    if (item.review === "waiting") count(item.answer, "waiting", -1);
    count(item.label, "samples", -1);
    count(now.label, "samples", 1);
    Object.assign(item, { review: now.review, label: now.label });
    return said(model, item);
  }

  function forget(item) {
    queue.counts[item.review] -= 1;
    queue.items.splice(at, 1);
    at -= 1;
  }

  listen(() => acts, model);
  await show({ focus: false });
  return root;
}
