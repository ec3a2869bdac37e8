// Errors, told kindly.

import { Refusal } from "./api.js";
import { el } from "./dom.js";
import { t } from "./texts.js";

const BY_CODE = {
  "not-an-image": "problem.not-a-picture",
  "unsupported-media-type": "problem.not-a-picture",
  "empty-input": "problem.truncated",
  "truncated-image": "problem.truncated",
  "too-many-pixels": "problem.too-large",
  "body-too-large": "problem.too-large",
  "unknown-model": "problem.unknown-model",
  "database-away": "problem.database-away",
  "invalid-url": "problem.address",
  "address-not-public": "problem.address",
  "redirect-refused": "problem.address",
  "too-many-redirects": "problem.address",
  "unsupported-encoding": "problem.site",
  "site-refused": "problem.site",
  "site-too-slow": "problem.site",
  "site-unreachable": "problem.site",
  "site-untrusted": "problem.site",
};
const BY_STATUS = {
  401: "problem.no-access",
  403: "problem.no-access",
  429: "problem.crowded",
  502: "problem.not-ready",
  503: "problem.not-ready",
  504: "problem.not-ready",
};

/** What went wrong, in words and with a way to try again. */
export function problemBox(error, retry) {
  const refused = error instanceof Refusal;
  const key = refused ? (BY_CODE[error.code] ?? BY_STATUS[error.status] ?? "problem.other") : "problem.offline";
  const reference = refused && error.problem.request_id;
  const box = el(
    "div",
    { className: "notice problem", role: "alert" },
    el("h2", { textContent: t("problem.title") }),
    el("p", { textContent: t(key) }),
    retry && el("button", { type: "button", textContent: t("ask.again"), on: { click: retry } }),
    refused &&
      el(
        "details",
        {},
        el("summary", { textContent: t("problem.details") }),
        el("p", { lang: "en", textContent: error.message }),
        reference ? el("p", { textContent: t("problem.reference", { id: reference }) }) : null,
      ),
  );
  return box;
}
