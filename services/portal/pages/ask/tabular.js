// Giving a model a row of numbers.

import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";

/** The form that takes a row and hands it to `ask(body, type)`. */
export function tabularInput(model, ask) {
  function submit(event) {
    event.preventDefault();
    const row = Object.fromEntries([...new FormData(event.target)].map(([name, value]) => [name, Number(value)]));
    ask(JSON.stringify(row), "application/json");
  }
  const number = (name) =>
    el(
      "label",
      { className: "field" },
      name,
      el("input", { type: "number", name, step: "any", required: true, value: "0", inputMode: "decimal" }),
    );
  return el(
    "form",
    { className: "row", on: { submit } },
    ...model.input.features.map(number),
    el("button", { className: "primary", textContent: t("tabular.ask") }),
  );
}
