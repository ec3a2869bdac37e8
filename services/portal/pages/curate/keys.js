// The keyboard: Enter accepts, digits choose a label, X sets aside, arrows go back and forward.

import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";

/** How many labels have a key: 1 to 9, then 0. */
export const KEYED = 10;
const KEPT = "canari_keys";

function on() {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true;
  }
}

/** Single keys can be turned off (WCAG 2.2, 2.1.4): speech input and slips of the hand press them too. */
export function shortcutsSwitch() {
  const input = el("input", { type: "checkbox", checked: on() });
  input.addEventListener("change", () => {
    try {
      localStorage.setItem(KEPT, input.checked ? "on" : "off");
    } catch {
      // A browser that keeps nothing leaves them on.
    }
  });
  return el("label", { className: "keys" }, input, el("span", { textContent: t("curate.keys") }));
}

/** Have keys do what `acts()` allows at that moment. */
export function listen(acts, model) {
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || !on()) return;
    if (event.target.closest("input, select, textarea")) return;
    const act = chosen(event, acts(), model);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function chosen(event, { say, back, forward }, model) {
  // A French keyboard has digits on the same keys, but with Shift: the key counts, not its character.
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
  if (say && digit) {
    const label = model.labels[(Number(digit) + KEYED - 1) % KEYED]?.label;
    return label && (() => say("relabel", label));
  }
  if (event.key === "ArrowLeft") return back;
  if (event.key === "ArrowRight") return forward;
  if (say && event.key.toLowerCase() === "x") return () => say("refuse");
  // Enter on a button or a link is that button's.
  if (say && event.key === "Enter" && !event.target.closest("a, button, summary")) return () => say("accept");
  return null;
}
