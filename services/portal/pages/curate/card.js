// What is known of an input, and what one can say of it.

import { el } from "../../static/lib/dom.js";
import { labelTitle } from "../../static/lib/labels.js";
import { language, percent, t } from "../../static/lib/texts.js";
import { KEYED, shortcutsSwitch } from "./keys.js";

const SAID = { accepted: "curate.said.accepted", relabelled: "curate.said.relabelled", refused: "curate.said.refused" };

/** What was said of an input, in words. */
export function said(model, item) {
  return t(SAID[item.review], { label: labelTitle(model, item.label) });
}

/** The card of an input: its element, its heading, and `enable()`, which lets one say something. */
export function card(model, item, told, acts) {
  const heading = el("h2", { className: "verdict", tabIndex: -1, textContent: verdict(model, item) });
  const buttons = el(
    "fieldset",
    { className: "acts", disabled: true, ariaLabel: t("curate.acts") },
    accept(model, item, acts),
    labels(model, item, acts),
    ways(item, acts),
  );
  const element = el(
    "section",
    { className: "card" },
    heading,
    stands(model, item),
    el("p", { className: "by", textContent: t("curate.by", { version: item.version, date: date(item.made_at) }) }),
    votes(model, item),
    buttons,
    // Below: what is pressed again and again stays where it is.
    told && el("p", { className: "told", textContent: told }),
    shortcutsSwitch(),
  );
  return { element, heading, enable: () => (buttons.disabled = false) };
}

function verdict(model, item) {
  if (item.answer === null) return t("curate.unanswered");
  const values = { label: labelTitle(model, item.answer), percent: percent(item.score) };
  if (item.answer === item.guess) return t("answer.sure", values);
  return t("curate.unsure", { ...values, guess: item.guess ? labelTitle(model, item.guess) : "–" });
}

function stands(model, item) {
  if (item.review === "waiting") return null;
  return el("p", { className: "stands", textContent: said(model, item) });
}

function votes(model, item) {
  if (!item.feedback.length) return el("p", { className: "by", textContent: t("curate.vote.none") });
  return el(
    "ul",
    { className: "votes", ariaLabel: t("curate.votes") },
    ...item.feedback.map((vote) =>
      el(
        "li",
        { className: vote.right ? "right" : "wrong" },
        voteText(model, vote),
        vote.comment && el("q", { textContent: vote.comment }),
      ),
    ),
  );
}

function voteText(model, vote) {
  if (vote.label) return t("curate.vote.label", { label: labelTitle(model, vote.label) });
  return t(vote.right ? "curate.vote.right" : "curate.vote.wrong");
}

function accept(model, item, acts) {
  if (item.guess === null) return null;
  const text = t("curate.accept", { label: labelTitle(model, item.guess) });
  const chosen = item.label === item.guess;
  return button(text, "⏎", () => acts.say("accept"), { className: "primary accept", ariaPressed: String(chosen) });
}

/** A button for each label, always in the same place; more of them than there are keys are in a list. */
function labels(model, item, acts) {
  const all = model.labels.map((one) => one.label);
  const choose = (label) => acts.say("relabel", label);
  const choices = all.slice(0, KEYED).map((label, place) =>
    button(labelTitle(model, label), String((place + 1) % KEYED), () => choose(label), {
      className: "label",
      ariaPressed: String(item.label === label),
    }),
  );
  return el(
    "div",
    { className: "labels", role: "group", ariaLabel: t("curate.is") },
    el("p", { className: "is", ariaHidden: "true", textContent: t("curate.is") }),
    ...choices,
    all.length > KEYED && list(model, all.slice(KEYED), item, choose),
  );
}

function list(model, labels, item, choose) {
  const option = (label) => el("option", { value: label, textContent: labelTitle(model, label), selected: item.label === label });
  const first = el("option", { value: "", textContent: t("curate.other") });
  return el(
    "select",
    { ariaLabel: t("curate.other"), on: { change: (event) => event.target.value && choose(event.target.value) } },
    first,
    ...labels.map(option),
  );
}

function ways(item, acts) {
  return el(
    "div",
    { className: "ways" },
    button(t("curate.refuse"), "X", () => acts.say("refuse"), {
      className: "refuse",
      ariaPressed: String(item.review === "refused"),
    }),
    acts.back && button(t("curate.back"), "←", acts.back),
    acts.forward && button(t("curate.forward"), "→", acts.forward),
  );
}

function button(text, key, click, properties = {}) {
  return el(
    "button",
    { type: "button", on: { click }, ...properties },
    el("span", { textContent: text }),
    el("kbd", { textContent: key, ariaHidden: "true" }),
  );
}

function date(moment) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(moment));
}
