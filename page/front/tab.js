// What all tabs have in common: settings that a link carries, fields for them, and drawing anew when one changes.

import { field } from "./controls.js";
import { h } from "./dom.js";
import { firstOf } from "./links.js";
import { complaint } from "./values.js";
import { facesAt } from "./views.js";

// Who waits for less than so many milliseconds sees nothing of it.
const BUSY_AFTER = 300;

export class Tab {
  drawing = null; // A promise, while that goes on.
  isAskedAgain = false;
  #controller = null; // Of what is drawn.
  #models = ""; // What it draws with.

  constructor(page, { name, title, controls }) {
    Object.assign(this, { page, name, title, controls });
    this.settings = firstOf(controls);
    this.fields = {};
    this.problem = h("div");
    this.element = h("section", { role: "tabpanel", id: `tab-${name}`, "aria-labelledby": `open-${name}` }, [
      h("h2.unseen", title),
      this.problem,
    ]);
  }

  control(name) {
    return this.controls.find((control) => control.name === name);
  }

  // Make the field of one of the settings.
  field(name, options = {}) {
    const control = { ...this.control(name), value: this.settings[name] };
    this.fields[name] = field(control, (value) => this.set({ [name]: value }), options);
    return this.fields[name].element;
  }

  // Take settings of the visitor's, and draw anew.
  set(values) {
    this.take(values);
    this.page.touched(this);
    this.redraw();
  }

  // Take settings, and show them in their fields.
  take(values) {
    Object.assign(this.settings, values);
    for (const [name, value] of Object.entries(values)) {
      const shown = this.fields[name];
      if (shown && shown.value !== value) shown.value = value;
    }
  }

  // What is wrong with values from a link that only its models can tell: sentences by the names of the values.
  vet() {
    return {};
  }

  // Open what is folded where a link has set something in it.
  unfold() {}

  get model() {
    return this.page.models.get(this.settings.model);
  }

  // The models whose networks this tab is about to need.
  get models() {
    return this.model ? [this.model] : [];
  }

  // Whether the tab shows what it shows first, whatever some of its settings are.
  isFirst(whatever = []) {
    const first = Object.entries(firstOf(this.controls));
    return first.every(([name, value]) => whatever.includes(name) || this.settings[name] === value);
  }

  // The faces that came along for that; null for anything else.
  async first(name, signal, whatever) {
    if (!this.isFirst(whatever) || this.models.some(({ about }) => about.first === false)) return null;
    const faces = await facesAt(new URL(`front/first/${name}.webp`, this.page.base)).catch(() => null);
    signal?.throwIfAborted();
    return faces;
  }

  // Draw. While that goes on, only the last of all further requests counts. One for other models, or that `isOther`,
  // does not wait for what goes on.
  redraw({ isOther = this.#models !== this.#names } = {}) {
    this.isAskedAgain = true;
    if (isOther) this.#controller?.abort();
    this.drawing ??= this.#drawUntilDone().finally(() => (this.drawing = null));
    return this.drawing;
  }

  get #names() {
    return this.models.map(({ name }) => name).join();
  }

  async #drawUntilDone() {
    const busy = setTimeout(() => this.element.setAttribute("aria-busy", "true"), BUSY_AFTER);
    while (this.isAskedAgain) {
      this.isAskedAgain = false;
      this.#models = this.#names;
      this.#controller = new AbortController();
      const { signal } = this.#controller;
      const aborted = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      try {
        await Promise.race([this.draw(signal), aborted]);
        this.problem.replaceChildren();
      } catch (error) {
        if (!signal.aborted) this.problem.replaceChildren(complaint(error.message));
      }
      // A frame for each drawing: the pointer that moves a slider is heard between them.
      if (this.isAskedAgain) await new Promise(requestAnimationFrame);
    }
    clearTimeout(busy);
    this.element.removeAttribute("aria-busy");
  }
}
