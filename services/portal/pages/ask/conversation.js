// One model's question, answer and feedback.

import { get, post, Refusal } from "../../static/lib/api.js";
import { announce, el } from "../../static/lib/dom.js";
import { problemBox } from "../../static/lib/problems.js";
import { t, titled } from "../../static/lib/texts.js";
import { answerCard, verdict } from "./answer.js";
import { consent } from "./consent.js";
import { feedbackForm } from "./feedback.js";
import { imageInput } from "./image.js";
import { tabularInput } from "./tabular.js";

const INPUTS = { image: imageInput, tabular: tabularInput };
const MOST_TRIES = 4;

/** The elements with which `model` is asked. */
export function conversation(model) {
  const badge = el("p", { className: "badge" });
  const result = el("div", { className: "result" });
  let current = null;

  function showBadge(number) {
    const version = model.versions.find((v) => v.number === number);
    badge.hidden = !version?.synthetic;
    badge.textContent = t(model.input.kind === "tabular" ? "ask.synthetic.tabular" : "ask.synthetic");
  }

  async function ask(body, type, route = "predict") {
    current?.abort();
    const controller = (current = new AbortController());
    result.replaceChildren(busy(t("ask.busy")));
    try {
      const tell = (text) => result.replaceChildren(busy(text));
      const options = { type, signal: controller.signal, headers: keeping.headers() };
      const answer = await predict(`/api/${model.name}/${route}`, body, options, tell);
      if (!model.versions.some((v) => v.number === answer.version)) model = await get(`/api/${model.name}`);
      showBadge(answer.version);
      result.replaceChildren(answerCard(model, answer), feedbackForm(model, answer));
      result.scrollIntoView({ block: "nearest", behavior: "smooth" });
      announce(verdict(model, answer));
    } catch (error) {
      if (controller.signal.aborted) return;
      result.replaceChildren(problemBox(error, () => ask(body, type, route)));
    }
  }

  showBadge(model.stable);
  const keeping = consent(model);
  const input = INPUTS[model.input.kind];
  return el(
    "div",
    {},
    el("h1", { textContent: titled(model.title) }),
    model.description && el("p", { className: "lead", textContent: titled(model.description) }),
    badge,
    el(
      "div",
      { className: "conversation" },
      el(
        "div",
        {},
        // Above the photo, which is sent as soon as it is given.
        input && keeping.element,
        input ? input(model, ask) : el("p", { className: "notice", textContent: t("ask.unsupported", { model: model.name }) }),
      ),
      result,
    ),
  );
}

function busy(text) {
  announce(text);
  return el("p", { className: "waiting" }, el("span", { className: "spinner", ariaHidden: "true" }), text);
}

/** Ask; where the model is too busy, come back when it says, a few times. */
async function predict(url, body, options, tell) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(url, body, options);
    } catch (error) {
      const busyNow = error instanceof Refusal && error.status === 429;
      if (!busyNow || tries === MOST_TRIES) throw error;
      const seconds = Math.min(error.retryAfter ?? 1, 10);
      tell(t("ask.crowded", { seconds }));
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}
