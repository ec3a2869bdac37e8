// Labels, as people read them.

import { titled } from "./texts.js";

/** A label's name for people. */
export function labelTitle(model, label) {
  const known = [...model.labels, ...(model.abstain ? [model.abstain] : [])].find((l) => l.label === label);
  return known ? titled(known.title) : label;
}
