// Elements of a page, made so that whatever anybody wrote stays text.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "line", "polyline", "rect", "text"]);

// An element: `h("p.note", { id }, "Text")`, with a class after the dot. Attributes may be left out. Those that begin with
// "on" are listeners; those that are null, undefined or false are left out.
export function h(kind, ...content) {
  const [tag, ...classes] = kind.split(".");
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  const attributes = content[0]?.constructor === Object ? content.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (![null, undefined, false].includes(value)) element.setAttribute(name, value === true ? "" : value);
  }
  if (classes.length) element.classList.add(...classes);
  element.append(...content.flat(Infinity).filter((child) => ![null, undefined, false].includes(child)));
  return element;
}

// One that submits nothing; `label` is what it shows, a text or an element.
export const button = (label, onclick, attributes = {}) =>
  h("button", { type: "button", ...attributes, onclick }, label);

// A number as it is printed.
export const shown = (number) => `${number}`.replace("-", "−");

// What a stranger wrote, kept from turning the text around it.
export const foreign = (text) => h("bdi", text);

export function download(content, name) {
  const address = URL.createObjectURL(content);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Whether a text could be put on the clipboard.
export const copy = (text) =>
  navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  ) ?? Promise.resolve(false);
