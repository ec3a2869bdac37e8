// How far one is: what waits, what was done, and which label lacks samples.

import { el } from "../../static/lib/dom.js";
import { labelTitle } from "../../static/lib/labels.js";
import { language, t } from "../../static/lib/texts.js";

const COLUMNS = ["curate.column.label", "curate.column.waits", "curate.column.samples"];
const number = new Intl.NumberFormat(language);

/** How many wait, and a row per label. */
export function progress(model, { counts, labels, train_on }) {
  const done = counts.accepted + counts.relabelled + counts.refused;
  const most = Math.max(...labels.map((row) => row.samples));
  const fewest = Math.min(...labels.map((row) => row.samples));
  return el(
    "div",
    {},
    el("p", { className: "left" }, el("strong", { textContent: number.format(counts.waiting) }), ` ${t("curate.left")}`),
    el("progress", { max: Math.max(1, counts.waiting + done), value: done, ariaLabel: t("curate.progress") }),
    el("p", { className: "by", textContent: t("curate.done", counted(counts)) }),
    train_on === "own" && el("p", { className: "by", textContent: t("curate.own") }),
    el(
      "table",
      {},
      el("caption", { textContent: t("curate.labels") }),
      el("thead", {}, el("tr", {}, ...COLUMNS.map((key) => el("th", { scope: "col", textContent: t(key) })))),
      el("tbody", {}, ...labels.map((row) => labelRow(model, row, most, row.samples === fewest && fewest < most))),
    ),
  );
}

/** Counts as the visitor's language writes them. */
export function counted(counts) {
  return Object.fromEntries(Object.entries(counts).map(([state, n]) => [state, number.format(n)]));
}

function labelRow(model, { label, waiting, samples }, most, fewest) {
  const fill = el("span", { className: "fill" });
  fill.style.setProperty("inline-size", `${(samples / (most || 1)) * 100}%`);
  return el(
    "tr",
    { className: fewest ? "fewest" : "" },
    el("th", { scope: "row" }, labelTitle(model, label), fewest && el("span", { className: "tag", textContent: t("curate.fewest") })),
    el("td", { textContent: number.format(waiting) }),
    el("td", {}, number.format(samples), el("span", { className: "track", ariaHidden: "true" }, fill)),
  );
}
