// Makes elements. Strings that strangers wrote stay text.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "line", "polyline", "rect", "text"]);

// Returns an element: `h("p.note", { id }, "Text")` is a paragraph of class "note". Attributes are optional. Those that
// begin with "on" are listeners; those that are null, undefined or false are skipped.
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

// Returns a button. `label` is a text or an element.
export const button = (label, onclick, attributes = {}) =>
  h("button", { type: "button", ...attributes, onclick }, label);

// Returns a stranger's text, isolated so that its direction of writing does not affect the text around it.
export const foreign = (text) => h("bdi", text);

export function download(content, name) {
  const address = URL.createObjectURL(content);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
