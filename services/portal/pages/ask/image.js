// Giving a model a photo: dropped, chosen, pasted, taken with the phone's camera, or by its address.

import { el } from "../../static/lib/dom.js";
import { t } from "../../static/lib/texts.js";

// Named one by one: an iPhone then turns its HEIC photos into JPEG by itself.
const FORMATS = "image/jpeg,image/png,image/webp,image/gif,image/bmp";
const SHRUNK_PIXELS = 2048;

/** The element that takes a photo, or a photo's address, and hands it to `ask(body, type, route)`. */
export function imageInput(model, ask) {
  const preview = el("img", { alt: t("image.preview"), hidden: true });
  const invitation = el(
    "div",
    {},
    el("p", { className: "invitation mouse", textContent: t("image.drop") }),
    el("p", { className: "hint mouse", textContent: t("image.or") }),
    el("p", { className: "invitation touch", textContent: t("image.show") }),
  );
  const chooser = picker();
  const camera = picker({ capture: "environment" });
  const choose = button("image.choose", "primary", () => chooser.click());
  const take = button("image.camera", "touch", () => camera.click());
  const address = addressForm(giveAddress);
  const zone = el(
    "section",
    { className: "drop" },
    preview,
    invitation,
    el("div", { className: "choices" }, choose, take),
    el("p", { className: "hint", textContent: t("image.formats") }),
    chooser,
    camera,
  );

  function picker(properties = {}) {
    const input = el("input", { type: "file", accept: FORMATS, hidden: true, ...properties });
    input.addEventListener("change", () => {
      give(input.files[0]);
      input.value = ""; // the same photo may be chosen again
    });
    return input;
  }

  async function give(file) {
    if (!file) return;
    show(file);
    const body = await fitted(file, model.input.max_bytes);
    ask(body, body.type || "application/octet-stream");
  }

  function giveAddress(url) {
    // What lies elsewhere is not shown: this page loads nothing from anywhere else.
    preview.hidden = true;
    invitation.hidden = false;
    zone.classList.remove("filled");
    ask(JSON.stringify({ url }), "application/json", "predict-url");
  }

  function show(file) {
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    preview.onerror = () => (preview.hidden = true);
    invitation.hidden = true;
    zone.classList.add("filled");
    choose.textContent = t("image.other");
  }

  listen(zone, give);
  return el("div", {}, zone, address);
}

function addressForm(give) {
  const input = el("input", { type: "url", name: "url", required: true, placeholder: "https://", inputMode: "url" });
  const submit = (event) => {
    event.preventDefault();
    give(input.value);
  };
  return el(
    "form",
    { className: "address", on: { submit } },
    el("label", { className: "field" }, t("image.address"), input),
    el("button", { textContent: t("image.fetch") }),
  );
}

function button(key, className, click) {
  return el("button", { type: "button", className, textContent: t(key), on: { click } });
}

/** Photos may be dropped and pasted anywhere on the page. */
function listen(zone, give) {
  const over = (event, inside) => {
    event.preventDefault();
    zone.classList.toggle("over", inside);
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => over(event, event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    over(event, false);
    give(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => give(event.clipboardData.files[0]));
}

/** The photo itself, or a smaller one where the model takes no file this large. */
async function fitted(file, mostBytes) {
  if (file.size <= mostBytes) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SHRUNK_PIXELS / Math.max(bitmap.width, bitmap.height));
    const canvas = el("canvas", {
      width: Math.max(1, Math.round(bitmap.width * scale)),
      height: Math.max(1, Math.round(bitmap.height * scale)),
    });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? file), "image/jpeg", 0.92));
  } catch {
    return file; // no picture the browser knows: the model says what it accepts
  }
}
