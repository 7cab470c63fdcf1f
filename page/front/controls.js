// Controls from their declarations in page.json.

import { button, h } from "./dom.js";
import { check } from "./values.js";

let made = 0;

// Of a field: {element, value}; `change` is called with each new value of the visitor's.
export function field(control, change, options = {}) {
  const about = { ...control, ...options };
  if (about.kind === "choice") return about.choices.length > 4 ? list(about, change) : radios(about, change);
  if (about.kind === "number") return about.most > 1e6 ? seed(about, change) : slider(about, change);
  return text(about, change);
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
      this.follow?.();
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
      inputs.map((input) => [input, h("label", { for: input.id }, input.value)]),
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

// A range and a small box for the exact number. With `scale` the range runs along another measure than the value:
// {to, from, steps, step}, both ways between them, the range's own steps, and by how much a key moves a value.
export function slider(about, change) {
  const { least, most, step, scale = { to: (value) => value, from: (share) => share } } = about;
  const id = `field-${made++}`;
  const steps = scale.steps ?? step;
  const range = h("input", { type: "range", id, min: scale.to(least), max: scale.to(most), step: steps });
  const box = h("input", { type: "number", min: least, max: most, step, "aria-label": `${about.label}, exactly` });
  const control = {
    element: labelled(about, id, box, range),
    input: range,
    value: about.value,
  };
  const show = (value) => {
    range.value = scale.to(value);
    range.setAttribute("aria-valuetext", value.toLocaleString("en"));
    box.value = value;
  };
  Object.defineProperty(control, "value", {
    get: () => Number(box.value),
    set: (value) => show(value),
  });
  range.addEventListener("input", () => {
    box.value = scale.from(Number(range.value));
    range.setAttribute("aria-valuetext", box.value);
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
      range.value = scale.to(check(about, box.value));
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
  const accept = () => {
    try {
      last = check(about, box.value);
      change(last);
    } catch {
      box.value = last;
    }
  };
  box.addEventListener("change", accept);
  const roll = () => {
    box.value = Math.floor(Math.random() * 2 ** 32);
    accept();
  };
  const row = h("div", { class: "with-button" }, box, button("Roll", roll));
  return valued(labelled(about, id, row), box, Number, (value) => (last = value));
}

function text(about, change) {
  const id = `field-${made++}`;
  const box = h("input", { type: "text", id, maxlength: about.most, spellcheck: "false" });
  box.value = about.value;
  box.addEventListener("change", () => change(box.value));
  return valued(labelled(about, id, about.roll ? withRoll(box, change) : box), box);
}

function withRoll(box, change) {
  const roll = () => change((box.value = String(Math.floor(Math.random() * 2 ** 32))));
  return h("div", { class: "with-button" }, box, button("Roll", roll));
}
