// Signing in with a name and a password, and going back to where one was.

import { get, Refusal, signIn, signOut } from "../../static/lib/api.js";
import { el } from "../../static/lib/dom.js";
import { problemBox } from "../../static/lib/problems.js";
import { t } from "../../static/lib/texts.js";

const view = document.getElementById("view");

/** Where to go then: a page of this site, whatever the address says. */
function next() {
  const asked = new URL(new URLSearchParams(location.search).get("next") ?? "/", location.origin);
  return asked.origin === location.origin ? asked.pathname + asked.search : "/";
}

function field(key, properties) {
  return el("label", { className: "field" }, t(key), el("input", { required: true, ...properties }));
}

function form() {
  const refused = el("p", { className: "refused", role: "alert" });
  const button = el("button", { className: "primary", textContent: t("signin.do") });
  const fields = el(
    "form",
    { className: "sign-in", on: { submit } },
    field("signin.name", { type: "text", name: "name", autocomplete: "username", autocapitalize: "none" }),
    field("signin.password", { type: "password", name: "password", autocomplete: "current-password" }),
    refused,
    button,
  );

  async function submit(event) {
    event.preventDefault();
    const said = new FormData(fields);
    button.disabled = true;
    refused.textContent = "";
    try {
      await signIn(said.get("name").trim().toLowerCase(), said.get("password"));
      location.assign(next());
    } catch (error) {
      refused.textContent = why(error);
      button.disabled = false;
      fields.elements.password.select();
    }
  }

  return fields;
}

function why(error) {
  if (!(error instanceof Refusal)) return t("problem.offline");
  // A name that nobody can have is answered 422.
  if (error.status === 401 || error.status === 422) return t("signin.wrong");
  if (error.status === 429) return t("signin.often", { minutes: Math.ceil((error.retryAfter ?? 60) / 60) });
  return t("problem.other");
}

function signedIn(me) {
  const leave = async () => {
    await signOut();
    start();
  };
  return el(
    "div",
    { className: "sign-in" },
    el("p", { textContent: t("signin.as", { name: me.subject.replace(/^account:/, "") }) }),
    el("a", { className: "button primary", href: next(), textContent: t("signin.go") }),
    el("button", { type: "button", textContent: t("signin.out"), on: { click: leave } }),
  );
}

async function start() {
  try {
    const me = await get("/api/me").catch((error) => {
      if (error.status === 401) return { visitor: true };
      throw error;
    });
    const shown = me.visitor ? form() : signedIn(me);
    view.replaceChildren(shown);
    shown.querySelector("input, a").focus();
  } catch (error) {
    view.replaceChildren(problemBox(error, start));
  }
}

start();
