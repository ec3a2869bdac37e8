// Making elements.

/** An element with properties and children; a property called `on` holds event listeners, `data` data attributes. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(element.dataset, value);
    } else if (name in element) {
      element[name] = value;
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** Have screen readers say `text`. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}
