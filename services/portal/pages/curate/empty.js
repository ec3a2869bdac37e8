// Nothing waits: all was looked at, or nothing has come yet, and how it would.

import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";
import { counted } from "./progress.js";

/** What is said of an empty queue: its element and its heading. */
export function emptyQueue(queue, told, { back }) {
  const { counts, retains } = queue;
  const some = counts.accepted + counts.relabelled + counts.refused > 0;
  const heading = el("h2", { tabIndex: -1, textContent: t(some ? "curate.all-done" : "curate.nothing") });
  const element = el(
    "section",
    { className: "card" },
    heading,
    some && el("p", { textContent: t("curate.done", counted(counts)) }),
    retains === "never" ? el("p", { textContent: t("curate.never") }) : !some && how(),
    el("p", { className: "by", textContent: t("curate.by-itself") }),
    back && el("button", { type: "button", textContent: t("curate.back"), on: { click: back } }),
    told && el("p", { className: "told", textContent: told }),
  );
  return { element, heading };
}

function how() {
  const steps = ["curate.how.agree", "curate.how.wait", "curate.how.word"];
  return el(
    "div",
    {},
    el("p", { textContent: t("curate.how") }),
    el("ol", {}, ...steps.map((key) => el("li", { textContent: t(key) }))),
  );
}
