// The inputs themselves: read once each, a few ahead of the one that is looked at.

import { bytes, Refusal } from "../../static/lib/api.js";
import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";

const KEPT = 12;
const read = new Map();

/** The element that shows an input; where it cannot be shown, one that says so. */
export function content(model, item) {
  const known = read.get(item.prediction_id);
  if (known) return known;
  const made = make(model, item).catch((error) => {
    read.delete(item.prediction_id);
    const gone = error instanceof Refusal && error.status === 404;
    return el("p", { className: "notice", textContent: t(gone ? "curate.gone" : "curate.unshown") });
  });
  read.set(item.prediction_id, made);
  if (read.size > KEPT) drop(read.keys().next().value);
  return made;
}

async function make(model, item) {
  const blob = await bytes(`/api/${model.name}/inputs/${item.prediction_id}`);
  if (model.input.kind === "text") {
    return el("pre", { className: "sent", tabIndex: 0, ariaLabel: t("curate.text"), textContent: await blob.text() });
  }
  const image = el("img", { className: "sent", alt: t("curate.photo"), src: URL.createObjectURL(blob) });
  await image.decode();
  return image;
}

async function drop(oldest) {
  const element = await read.get(oldest);
  read.delete(oldest);
  if (element.src && !element.isConnected) URL.revokeObjectURL(element.src);
}
