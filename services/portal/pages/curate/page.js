// The page on which a person says what may be learned from: who they are, which models they may curate, then the desk.

import { get, signOut } from "../../static/lib/api.js";
import { el } from "../../static/lib/dom.js";
import { problemBox } from "../../static/lib/problems.js";
import { t, titled } from "../../static/lib/texts.js";
import { desk } from "./desk.js";

const KEPT = ["image", "text"];
const view = document.getElementById("view");
const asked = document.getElementById("curate").dataset.model;

function signInAddress() {
  return `/sign-in?${new URLSearchParams({ next: location.pathname })}`;
}

function mayCurate(me, model) {
  const holds = me.scopes.includes("curate") || me.scopes.includes("admin");
  return holds && (me.models.includes("*") || me.models.includes(model));
}

async function whoAmI() {
  try {
    return await get("/api/me");
  } catch (error) {
    if (error.status === 401) return { visitor: true, subject: null };
    throw error;
  }
}

function invitation() {
  return el(
    "section",
    { className: "notice" },
    el("p", { textContent: t("curate.signed-out") }),
    el("a", { className: "button primary", href: signInAddress(), textContent: t("signin.title") }),
  );
}

function noRight(me) {
  return el(
    "section",
    { className: "notice" },
    el("p", { textContent: t("curate.no-right", { name: nameOf(me) }) }),
    leaving(me),
  );
}

function nameOf(me) {
  return me.subject.replace(/^account:/, "");
}

/** Who is signed in, and the way out. */
function leaving(me) {
  const leave = async () => {
    await signOut();
    location.assign(signInAddress());
  };
  return el(
    "p",
    { className: "who" },
    `${t("signin.as", { name: nameOf(me) })} `,
    el("button", { type: "button", className: "link", textContent: t("signin.out"), on: { click: leave } }),
  );
}

/** The models one may curate of which inputs can be kept, each with how many wait. */
async function findModels(me) {
  const { models } = await get("/api/status");
  const mine = models.filter((model) => KEPT.includes(model.input) && mayCurate(me, model.name));
  const queues = await Promise.all(mine.map((model) => get(`/api/${model.name}/queue?limit=1`)));
  return mine.map((model, place) => ({ ...model, waiting: queues[place].counts.waiting }));
}

function showModels(models, current) {
  const nav = document.getElementById("models");
  nav.hidden = models.length < 2;
  nav.replaceChildren(
    ...models.map((model) =>
      el(
        "a",
        { href: `/curate/${model.name}`, ...(model.name === current ? { ariaCurrent: "page" } : {}) },
        titled(model.title),
        el("span", { className: "count", textContent: ` ${model.waiting}` }),
      ),
    ),
  );
}

async function start() {
  try {
    const me = await whoAmI();
    if (me.visitor) return view.replaceChildren(invitation());
    const models = await findModels(me);
    if (!models.length && !asked) return view.replaceChildren(noRight(me));
    const name = asked || (models.find((model) => model.waiting) ?? models[0]).name;
    if (asked && !mayCurate(me, asked)) return view.replaceChildren(noRight(me));
    showModels(models, name);
    const model = await get(`/api/${encodeURIComponent(name)}`);
    document.title = `${titled(model.title)} · ${t("curate.title")} · Canari`;
    view.replaceChildren(await desk(model, () => view.replaceChildren(invitation())), leaving(me));
  } catch (error) {
    view.replaceChildren(problemBox(error, start));
  }
}

start();
