// What becomes of what is sent: a box where the sender is asked, a line where it is kept anyway, else nothing.

import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";

const TEXTS = {
  consented: { image: "consent.ask.image", text: "consent.ask.text" },
  always: { image: "consent.always.image", text: "consent.always.text" },
};

/** The element that asks or tells, and the headers that say what was chosen. */
export function consent(model) {
  const { inputs, days } = model.keeping;
  const key = TEXTS[inputs]?.[model.input.kind];
  if (!key) return { element: null, headers: () => ({}) };
  const text = t(key, { days });
  if (inputs === "always") {
    return { element: el("p", { className: "consent", textContent: text }), headers: () => ({}) };
  }
  // Never ticked beforehand, nor from one visit to the next: consent is given each time.
  const box = el("input", { type: "checkbox", name: "consent" });
  const element = el("label", { className: "consent" }, box, text);
  return { element, headers: () => (box.checked ? { "x-canari-consent": "keep" } : {}) };
}
