// An answer: in words, in bars, and by whom.

import { el } from "../../static/lib/dom.js";
import { labelTitle } from "../../static/lib/labels.js";
import { language, percent, t } from "../../static/lib/texts.js";

const MOST_BARS = 8;

function abstained(answer) {
  return answer.answer !== undefined && answer.answer !== answer.labels[0].label;
}

/** The answer in words: "Dog, 94% sure". */
export function verdict(model, answer) {
  const best = answer.labels[0];
  if (abstained(answer)) return t("answer.abstain", { label: labelTitle(model, answer.answer) });
  return t("answer.sure", { label: labelTitle(model, best.label), percent: percent(best.score) });
}

/** The element that shows an answer. */
export function answerCard(model, answer) {
  const [best] = answer.labels;
  const milliseconds = new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(
    Math.max(1, answer.timing_ms.total ?? 1),
  );
  const guess = { label: labelTitle(model, best.label).toLocaleLowerCase(language), percent: percent(best.score) };
  return el(
    "section",
    { className: "answer" },
    el("h2", { className: "verdict", textContent: verdict(model, answer) }),
    abstained(answer) ? el("p", { textContent: t("answer.abstain.best", guess) }) : null,
    el("ul", { className: "bars", ariaLabel: t("answer.bars") }, ...answer.labels.slice(0, MOST_BARS).map((l) => bar(model, l))),
    el("p", { className: "by", textContent: t("answer.by", { version: answer.version, milliseconds }) }),
  );
}

function bar(model, { label, score }) {
  const fill = el("span", { className: "fill" });
  fill.style.setProperty("inline-size", `${score * 100}%`);
  return el(
    "li",
    {},
    el("span", { className: "name", textContent: labelTitle(model, label) }),
    el("span", { className: "track", ariaHidden: "true" }, fill),
    el("span", { className: "share", textContent: percent(score) }),
  );
}
