// Elements of a page, made so that whatever anybody wrote stays text.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "line", "polyline", "rect", "text"]);

// An element. Attributes that begin with "on" are listeners; those that are null, undefined or false are left out.
export function h(tag, attributes = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

// One that submits nothing; `label` is what it shows, a text or an element.
export const button = (label, onclick, attributes = {}) =>
  h("button", { type: "button", ...attributes, onclick }, label);

// A number as it is printed.
export const shown = (number) => `${number}`.replace("-", "−");

// What a stranger wrote, kept from turning the text around it.
export const foreign = (text) => h("bdi", {}, text);

export function download(content, name) {
  const address = typeof content === "string" ? content : URL.createObjectURL(content);
  h("a", { href: address, download: name }).click();
  if (content !== address) setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Whether a text could be put on the clipboard.
export const copy = (text) =>
  navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  ) ?? Promise.resolve(false);
