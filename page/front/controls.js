// Controls from their declarations in page.json.

import { button, h } from "./dom.js";
import { check } from "./values.js";

let made = 0;

export const randomSeed = () => Math.floor(Math.random() * 2 ** 32);

// Of a field: {element, value}; `change` is called with each new value of the visitor's.
export function field(control, change, options = {}) {
  const about = { ...control, ...options };
  if (about.kind === "choice") return about.choices.length > 4 ? list(about, change) : radios(about, change);
  if (about.kind === "number") return about.most > 1e6 ? seed(about, change) : slider(about, change);
  return text(about, change);
}

// A group that is folded until it is opened.
export const fold = (summary, ...children) => h("details", { class: "fold" }, h("summary", {}, summary), ...children);

// Which of some elements a key of the ARIA patterns leads to, `columns` of them in a row; null for any other key.
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

// Buttons among which the arrow keys, Home and End move, as one stop of the tab key. `show` takes new ones, each with a
// `data-key` by which the focus finds it again.
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
    const focused = element.contains(document.activeElement) && document.activeElement.dataset.key;
    const last = buttons().find(({ tabIndex }) => tabIndex === 0)?.dataset.key;
    element.replaceChildren(...children);
    rest(buttons().find(({ dataset }) => dataset.key === last) ?? buttons()[0]);
    if (focused)
      buttons()
        .find(({ dataset }) => dataset.key === focused)
        ?.focus();
  };
  return { element, show };
}

const labelled = (about, id, ...children) =>
  h("div", { class: `field ${about.class ?? ""}` }, h("label", { for: id }, about.label), ...children);

function valued(element, input, read = (value) => value, write = (value) => value) {
  return {
    element,
    input,
    get value() {
      return read(input.value);
    },
    set value(value) {
      input.value = write(value);
    },
  };
}

function list(about, change) {
  const id = `field-${made++}`;
  const options = about.choices.map((name) => h("option", { value: name }, name));
  const select = h("select", { id, onchange: () => change(select.value) }, options);
  select.value = about.value;
  return valued(labelled(about, id, select), select);
}

// `shown` has words for the values, where they have none.
function radios(about, change) {
  const name = `field-${made++}`;
  const inputs = about.choices.map((value) =>
    h("input", { type: "radio", name, value, id: `${name}-${value}`, onchange: () => change(value) }),
  );
  const element = h(
    "fieldset",
    { class: "field" },
    h("legend", {}, about.label),
    h(
      "div",
      { class: "segments" },
      inputs.map((input) => [input, h("label", { for: input.id }, about.shown?.[input.value] ?? input.value)]),
    ),
  );
  const control = {
    element,
    get value() {
      return inputs.find((input) => input.checked)?.value;
    },
    set value(value) {
      for (const input of inputs) input.checked = input.value === value;
    },
  };
  control.value = about.value;
  return control;
}

// A range, filled from 0 where that lies within it, and a small box for the exact number. With `scale` the range runs
// along another measure than the value: {to, from, steps, step}, both ways between them, the range's own steps, and by
// how much a key moves a value.
export function slider(about, change) {
  const { least, most, step, scale = { to: (value) => value, from: (share) => share } } = about;
  const id = `field-${made++}`;
  const [start, end] = [scale.to(least), scale.to(most)];
  const range = h("input", { type: "range", id, min: start, max: end, step: scale.steps ?? step });
  const box = h("input", { type: "number", min: least, max: most, step, "aria-label": `${about.label}, exactly` });
  const share = (value) => `${(100 * (scale.to(value) - start)) / (Number(range.max) - start)}%`;
  const tell = (value) => {
    range.setAttribute("aria-valuetext", value.toLocaleString("en"));
    const zero = Math.max(least, 0);
    range.style.setProperty("--low", share(Math.min(value, zero)));
    range.style.setProperty("--high", share(Math.max(value, zero)));
  };
  const show = (value) => {
    range.value = scale.to(value);
    box.value = value;
    tell(value);
  };
  const control = {
    element: labelled(about, id, box, range),
    input: range,
    get value() {
      return Number(box.value);
    },
    set value(value) {
      show(value);
    },
    // The most that can be chosen for now.
    set most(value) {
      range.max = box.max = value;
    },
  };
  range.addEventListener("input", () => {
    box.value = scale.from(Number(range.value));
    tell(Number(box.value));
    change(Number(box.value));
  });
  if (scale.step) {
    range.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const value = Number(box.value) + by * scale.step(Number(box.value));
      show(Math.min(most, Math.max(least, Number(value.toFixed(1)))));
      change(Number(box.value));
    });
  }
  box.addEventListener("change", () => {
    try {
      show(check({ ...about, most: Number(box.max) }, box.value));
      change(Number(box.value));
    } catch {
      show(scale.from(Number(range.value)));
    }
  });
  show(about.value);
  return control;
}

function seed(about, change) {
  const id = `field-${made++}`;
  const box = h("input", { type: "number", id, min: about.least, max: about.most, step: 1, inputmode: "numeric" });
  let last = (box.value = about.value);
  box.addEventListener("change", () => {
    try {
      last = check(about, box.value);
      change(last);
    } catch {
      box.value = last;
    }
  });
  return valued(labelled(about, id, box), box, Number, (value) => (last = value));
}

// With `roll` there is a button beside it that writes a seed.
function text(about, change) {
  const id = `field-${made++}`;
  const box = h("input", { type: "text", id, maxlength: about.most, spellcheck: "false" });
  box.value = about.value;
  box.addEventListener("change", () => change(box.value));
  const roll = button("Another", () => change((box.value = String(randomSeed()))), { "aria-label": about.roll });
  const row = about.roll ? h("div", { class: "with-button" }, box, roll) : box;
  return valued(labelled(about, id, row), box);
}
