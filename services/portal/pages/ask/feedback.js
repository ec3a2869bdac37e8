// "Was it right?": yes or no is sent at once, what it really was may follow, and a mind may change.

import { post } from "../../static/lib/api.js";
import { announce, el } from "../../static/lib/dom.js";
import { labelTitle } from "../../static/lib/labels.js";
import { problemBox } from "../../static/lib/problems.js";
import { t } from "../../static/lib/texts.js";

/** The form that takes a person's word on an answer. */
export function feedbackForm(model, answer) {
  const form = el("section", { className: "feedback" });
  const said = { prediction_id: answer.prediction_id, right: null, label: null, comment: null };

  async function send(words, next) {
    Object.assign(said, words);
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    try {
      await post(`/api/${model.name}/feedback`, JSON.stringify(said), { type: "application/json" });
      next();
    } catch (error) {
      form.replaceChildren(problemBox(error, () => send({}, next)));
    }
  }

  function question() {
    const yes = choice("feedback.yes", () => send({ right: true, label: null, comment: null }, thanks));
    const no = choice("feedback.no", () => send({ right: false, label: null, comment: null }, details));
    const heading = el("h3", { textContent: t("feedback.question"), tabIndex: -1 });
    form.replaceChildren(heading, el("div", { className: "choices" }, yes, no));
    return heading;
  }

  function details() {
    const form_ = el(
      "form",
      { on: { submit: (event) => submit(event) } },
      labelChoice(model, answer),
      comment(),
      el("button", { className: "primary", textContent: t("feedback.send") }),
    );
    form.replaceChildren(form_);
    form_.querySelector("input").focus();
  }

  function submit(event) {
    event.preventDefault();
    const values = new FormData(event.target);
    send({ label: values.get("label") || null, comment: values.get("comment").trim() || null }, thanks);
  }

  function thanks() {
    const told = said.label
      ? t("feedback.thanks.label", { label: labelTitle(model, said.label) })
      : t(said.right ? "feedback.thanks.right" : "feedback.thanks.wrong");
    const change = el("button", {
      type: "button",
      className: "link",
      textContent: t("feedback.change"),
      on: { click: () => question().focus() },
    });
    const heading = el("h3", { textContent: t("feedback.thanks"), tabIndex: -1 });
    form.replaceChildren(heading, el("p", { textContent: told }), change);
    heading.focus();
    announce(`${t("feedback.thanks")} ${told}`);
  }

  question();
  return form;
}

function choice(key, click) {
  return el("button", { type: "button", textContent: t(key), on: { click } });
}

function labelChoice(model, answer) {
  // Where the model did not commit itself, none of its labels is ruled out.
  const ruledOut = answer.answer ?? answer.labels[0].label;
  const labels = model.labels.map((l) => l.label).filter((label) => label !== ruledOut);
  const radio = (value, text) =>
    el("label", { className: "option" }, el("input", { type: "radio", name: "label", value, required: true }), text);
  return el(
    "fieldset",
    {},
    el("legend", { textContent: t("feedback.what") }),
    el(
      "div",
      { className: "options" },
      ...labels.map((label) => radio(label, labelTitle(model, label))),
      radio("", t("feedback.other")),
    ),
  );
}

function comment() {
  return el(
    "label",
    { className: "field" },
    t("feedback.comment"),
    el("textarea", { name: "comment", rows: 2, maxLength: 2000 }),
  );
}
