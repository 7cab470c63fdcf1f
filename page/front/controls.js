// Makes the page's controls from their declarations in page.json.

import { button, foreign, h } from "./dom.js";
import { check } from "./values.js";

let made = 0;

export const randomSeed = () => Math.floor(Math.random() * 2 ** 32);

// Returns the field of a control, {element, input, show}. Calls `change` with each value that the visitor chooses. What
// the field shows is what `show` was last called with.
export function field(control, change, options = {}) {
  const about = { ...control, ...options };
  if (about.kind === "choice") return list(about, change);
  return about.kind === "number" && about.most <= 1e6 ? slider(about, change) : box(about, change);
}

export const fold = (summary, ...children) => h("details.fold", [h("summary", summary), children]);

// Returns whether a key is meant for the browser, as Alt and an arrow are.
export const isShortcut = ({ altKey, ctrlKey, metaKey }) => altKey || ctrlKey || metaKey;

// Returns the index, among `count` elements, that an arrow key, Home or End leads to, or null (ARIA patterns).
export function keyed(event, index, count, columns = count) {
  if (isShortcut(event)) return null;
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

// `about.shown` maps some choices to the words to show for them.
function list(about, change) {
  const id = `field-${made++}`;
  const options = about.choices.map((value) => h("option", { value }, about.shown?.[value] ?? value));
  const input = h("select", { id, onchange: () => change(input.value) }, options);
  const show = (value) => (input.value = value);
  show(about.value);
  return { element: labelled(about, id, input), input, show };
}

// A box for a number or a text. An impossible value is replaced by the one before. With `roll`, a button beside the box
// writes a random seed.
function box(about, change) {
  const { kind, least, most, step } = about;
  const id = `field-${made++}`;
  const limits =
    kind === "number"
      ? { type: "number", min: least, max: most, step, inputmode: "numeric" }
      : { type: "text", maxlength: most };
  const take = () => change(attempt(about, input.value) ?? shown);
  const input = h("input", { id, ...limits, spellcheck: "false", onchange: take });
  let shown;
  const show = (value) => (input.value = shown = value);
  show(about.value);
  const roll = about.roll && button("Another", () => change(`${randomSeed()}`), { "aria-label": about.roll });
  const element = labelled(about, id, roll ? h("div.with-button", input, roll) : input);
  return { element, input, show };
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
// `limit` sets the largest value that can be chosen.
export function slider(about, change) {
  const { least, most, step, scale = { to: (value) => value, from: (share) => share } } = about;
  const id = `field-${made++}`;
  const [start, end] = [scale.to(least), scale.to(most)];
  const range = h("input", { type: "range", id, min: start, max: end, step: scale.steps ?? step });
  const exact = h("input", { type: "number", min: least, max: most, step, "aria-label": `${about.label}, exactly` });
  const share = (value) => `${(100 * (scale.to(value) - start)) / (Number(range.max) - start)}%`;
  let shown;
  const show = (value) => {
    range.value = scale.to(value);
    exact.value = shown = value;
    range.setAttribute("aria-valuetext", value.toLocaleString("en"));
    const zero = Math.max(least, 0);
    range.style.setProperty("--low", share(Math.min(value, zero)));
    range.style.setProperty("--high", share(Math.max(value, zero)));
  };
  range.addEventListener("input", () => change(scale.from(Number(range.value))));
  range.addEventListener("keydown", (event) => {
    const by = scale.step && { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by || isShortcut(event)) return;
    event.preventDefault();
    const moved = Number((shown + by * scale.step(shown)).toFixed(1));
    change(Math.min(most, Math.max(least, moved)));
  });
  exact.addEventListener("change", () => change(attempt({ ...about, most: Number(exact.max) }, exact.value) ?? shown));
  show(about.value);
  const limit = (most) => (range.max = exact.max = most);
  return { element: labelled(about, id, exact, range), input: range, show, limit };
}
