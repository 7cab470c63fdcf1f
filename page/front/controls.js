// Makes the page's controls from their declarations in page.json.

import { button, foreign, h } from "./dom.js";
import { check } from "./values.js";

let made = 0;

export const randomSeed = () => Math.floor(Math.random() * 2 ** 32);

// Returns the field of a control: {element, input, value}. Calls `change` with each value that the visitor chooses.
export function field(control, change, options = {}) {
  const about = { ...control, ...options };
  if (about.kind === "choice") return list(about, change);
  return about.kind === "number" && about.most <= 1e6 ? slider(about, change) : box(about, change);
}

export const fold = (summary, ...children) => h("details.fold", [h("summary", summary), children]);

// Returns the index, among `count` elements, that an arrow key, Home or End leads to, or null (ARIA patterns).
export function keyed(event, index, count, columns = count) {
  const to = {
    ArrowRight: (index + 1) % count,
    ArrowLeft: (index + count - 1) % count,
    ArrowDown: index + columns < count ? index + columns : index,
    ArrowUp: index - columns >= 0 ? index - columns : index,
    Home: 0,
    End: count - 1,
  }[event.key];
  if (to === undefined) return null;
  event.preventDefault();
  return to;
}

// Returns {element, show} of a toolbar. The tab key stops at it once; arrow keys, Home and End move among its buttons.
// `show` replaces the buttons and keeps the focus on the one with the same `data-key`.
export function toolbar(about) {
  const element = h("div", { ...about, role: "toolbar" });
  const buttons = () => [...element.querySelectorAll("button")];
  const rest = (stop) => buttons().forEach((one) => (one.tabIndex = one === stop ? 0 : -1));
  element.addEventListener("focusin", ({ target }) => rest(target));
  element.addEventListener("keydown", (event) => {
    const to = keyed(event, buttons().indexOf(document.activeElement), buttons().length);
    if (to !== null) buttons()[to].focus();
  });
  const show = (...children) => {
    const hadFocus = element.contains(document.activeElement);
    const key = buttons().find(({ tabIndex }) => tabIndex === 0)?.dataset.key;
    element.replaceChildren(...children);
    const stop = buttons().find(({ dataset }) => dataset.key === key) ?? buttons()[0];
    rest(stop);
    if (hadFocus) stop?.focus();
  };
  return { element, show };
}

const labelled = (about, id, ...children) =>
  h("div.field", { class: about.class }, [h("label", { for: id }, foreign(about.label)), children]);

// Returns what `field` returns. `read` gets its value and `show` sets it.
const control = (element, input, read, show) => ({
  element,
  input,
  get value() {
    return read();
  },
  set value(value) {
    show(value);
  },
});

// `about.shown` maps some choices to the words to show for them.
function list(about, change) {
  const id = `field-${made++}`;
  const options = about.choices.map((value) => h("option", { value }, about.shown?.[value] ?? value));
  const input = h("select", { id, onchange: () => change(input.value) }, options);
  const show = (value) => (input.value = value);
  show(about.value);
  return control(labelled(about, id, input), input, () => input.value, show);
}

// A box for a number or a text. An impossible value is replaced by the one before. With `roll`, a button beside the box
// writes a random seed.
function box(about, change) {
  const { kind, least, most, step } = about;
  const isNumber = kind === "number";
  const id = `field-${made++}`;
  const limits = isNumber ? { min: least, max: most, step, inputmode: "numeric" } : { maxlength: most };
  const input = h("input", { type: isNumber ? "number" : "text", id, ...limits, spellcheck: "false" });
  const show = (value) => (input.value = input.defaultValue = value);
  const take = (value) => {
    show(value);
    change(value);
  };
  input.addEventListener("change", () => {
    const value = attempt(about, input.value);
    if (value === null) show(input.defaultValue);
    else take(value);
  });
  show(about.value);
  const roll = about.roll && button("Another", () => take(`${randomSeed()}`), { "aria-label": about.roll });
  const element = labelled(about, id, roll ? h("div.with-button", input, roll) : input);
  return control(element, input, () => (isNumber ? Number(input.value) : input.value), show);
}

function attempt(about, text) {
  try {
    return check(about, text);
  } catch {
    return null;
  }
}

// A range, filled from 0 if it contains 0, and a box for the exact number. With `scale`, the range has positions: `to` and
// `from` convert between both, `steps` is the step of positions, and `step` returns by how much a key moves a value.
export function slider(about, change) {
  const { least, most, step, scale = { to: (value) => value, from: (share) => share } } = about;
  const id = `field-${made++}`;
  const [start, end] = [scale.to(least), scale.to(most)];
  const range = h("input", { type: "range", id, min: start, max: end, step: scale.steps ?? step });
  const exact = h("input", { type: "number", min: least, max: most, step, "aria-label": `${about.label}, exactly` });
  const share = (value) => `${(100 * (scale.to(value) - start)) / (Number(range.max) - start)}%`;
  const show = (value, position = scale.to(value)) => {
    range.value = position;
    exact.value = value;
    range.setAttribute("aria-valuetext", value.toLocaleString("en"));
    const zero = Math.max(least, 0);
    range.style.setProperty("--low", share(Math.min(value, zero)));
    range.style.setProperty("--high", share(Math.max(value, zero)));
  };
  const take = (value, position) => {
    show(value, position);
    change(value);
  };
  const value = () => Number(exact.value);
  range.addEventListener("input", () => take(scale.from(Number(range.value)), range.value));
  range.addEventListener("keydown", (event) => {
    const by = scale.step && { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const moved = Number((value() + by * scale.step(value())).toFixed(1));
    take(Math.min(most, Math.max(least, moved)));
  });
  exact.addEventListener("change", () => {
    const written = attempt({ ...about, most: Number(exact.max) }, exact.value);
    if (written === null) show(scale.from(Number(range.value)));
    else take(written);
  });
  show(about.value);
  // Set the largest value that can be chosen.
  const limit = (most) => (range.max = exact.max = most);
  return Object.assign(control(labelled(about, id, exact, range), range, value, show), { limit });
}
