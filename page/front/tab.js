// What all tabs have in common: settings, their fields, and drawing when a setting changes.

import { field } from "./controls.js";
import { h } from "./dom.js";
import { firstOf } from "./links.js";
import { complaint } from "./values.js";
import { facesAt } from "./views.js";

// The page shows that it is busy only after so many milliseconds.
const BUSY_AFTER = 300;

export class Tab {
  drawing = null; // A promise while the tab draws.
  isAskedAgain = false;
  #controller = null; // Aborts the present drawing.
  #models = ""; // The names of the models that it draws with.

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

  // Makes the field of a setting and returns its element.
  field(name, options = {}) {
    const control = { ...this.control(name), value: this.settings[name] };
    this.fields[name] = field(control, (value) => this.set({ [name]: value }), options);
    return this.fields[name].element;
  }

  // Takes settings that the visitor chose, and draws.
  set(values) {
    this.take(values);
    this.page.touched(this);
    this.redraw();
  }

  // Takes settings and shows them in their fields.
  take(values) {
    Object.assign(this.settings, values);
    for (const [name, value] of Object.entries(values)) this.fields[name]?.show(value);
  }

  // Throws an error with a sentence if a link's value does not fit the model. Takes its name and all values.
  vet() {}

  // Opens the folds that hold a setting of the link.
  unfold() {}

  get model() {
    return this.page.models.get(this.settings.model);
  }

  // The models that this tab is about to need.
  get models() {
    return this.model ? [this.model] : [];
  }

  // Returns whether the tab's settings are those that it has at first, except for `whatever`.
  isFirst(whatever = []) {
    const first = Object.entries(firstOf(this.controls));
    return first.every(([name, value]) => whatever.includes(name) || this.settings[name] === value);
  }

  // Returns the faces that came with the page for these settings, or null.
  async first(name, signal, whatever) {
    if (!this.isFirst(whatever) || this.models.some(({ about }) => about.first === false)) return null;
    const faces = await facesAt(new URL(`front/first/${name}.webp`, this.page.base)).catch(() => null);
    signal?.throwIfAborted();
    return faces;
  }

  // Draws. Of the requests that come meanwhile, only the last counts. One for other models, or with `isOther`, aborts
  // the present drawing.
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
      // One drawing for each frame, so that a slider's moves are heard in between.
      if (this.isAskedAgain) await new Promise(requestAnimationFrame);
    }
    clearTimeout(busy);
    this.element.removeAttribute("aria-busy");
  }
}
