// The page's texts in the visitor's language, and numbers as that language writes them.

const texts = JSON.parse(document.getElementById("texts").textContent);

export const language = document.documentElement.lang;

/** The text called `key`, its {placeholders} filled in. */
export function t(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A share as a percentage. Nothing is ever quite certain: 100 % is said of a whole only. */
export function percent(share) {
  const digits = share > 0.99 && share < 1 ? 1 : 0;
  const shown = share < 1 ? Math.min(share, 0.999) : share;
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(shown);
}

/** A title of the API, {fr, en}, in the visitor's language. */
export function titled(title) {
  return title[language];
}
