// The page on which a model is asked: which models there are, whether one can answer, and then its question.

import { get, Refusal } from "../../static/lib/api.js";
import { el } from "../../static/lib/dom.js";
import { problemBox } from "../../static/lib/problems.js";
import { t, titled } from "../../static/lib/texts.js";
import { conversation } from "./conversation.js";

const POLL_MS = 2000;
const view = document.getElementById("view");
const asked = document.getElementById("ask").dataset.model;

const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS));

function show(...children) {
  view.replaceChildren(...children);
}

function waiting(text) {
  const now = view.querySelector(".waiting");
  if (now?.dataset.text === text) return;
  const spinner = el("span", { className: "spinner", ariaHidden: "true" });
  show(el("p", { className: "waiting", role: "status", data: { text } }, spinner, text));
}

/** What keeps a model from answering, in words. */
function whyNot(model) {
  const newest = model.versions[0];
  if (!newest) return t("wait.none");
  const keys = { building: "wait.building", ready: "wait.starting", failed: "wait.failed" };
  return t(keys[newest.state], { version: newest.number });
}

function showModels(models, current) {
  const nav = document.getElementById("models");
  nav.hidden = models.length < 2;
  nav.replaceChildren(
    ...models.map((model) =>
      el("a", {
        href: `/models/${model.name}`,
        textContent: titled(model.title),
        ...(model.name === current ? { ariaCurrent: "page" } : {}),
      }),
    ),
  );
}

/** The models, those that take images first; waits for the platform. */
async function findModels() {
  for (;;) {
    try {
      const { models } = await get("/api/status");
      if (models.length) return models.sort((a, b) => (b.input === "image") - (a.input === "image"));
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) throw error;
    }
    waiting(t("wait.platform"));
    await pause();
  }
}

/** A model that can answer; waits for its first version. */
async function findModel(name) {
  for (;;) {
    try {
      const model = await get(`/api/${encodeURIComponent(name)}`);
      if (model.stable !== null) return model;
      waiting(whyNot(model));
    } catch (error) {
      if (error instanceof Refusal && error.status < 500) throw error;
      waiting(t("wait.platform"));
    }
    await pause();
  }
}

async function start() {
  try {
    const models = await findModels();
    const name = asked || models[0].name;
    showModels(models, name);
    const model = await findModel(name);
    document.title = `${titled(model.title)} · Canari`;
    show(conversation(model));
  } catch (error) {
    show(problemBox(error, start));
  }
}

start();
