// What all tabs have in common: settings that a link carries, fields for them, and drawing anew when one changes.

import { field } from "./controls.js";
import { h } from "./dom.js";
import { firstOf } from "./links.js";
import { complaint } from "./values.js";

// Who waits for less than this sees nothing of it.
const BUSY_AFTER = 300;

export class Tab {
  constructor(page, { name, title, controls }) {
    Object.assign(this, { page, name, title, controls });
    this.settings = firstOf({ controls });
    this.fields = {};
    this.problem = h("div");
    this.element = h(
      "section",
      { role: "tabpanel", id: `tab-${name}`, "aria-labelledby": `open-${name}` },
      h("h2", { class: "unseen" }, title),
      this.problem,
    );
  }

  // The field of one of the settings, made here.
  field(name, options = {}) {
    const control = this.controls.find((control) => control.name === name);
    const shown = { ...control, value: this.settings[name] };
    this.fields[name] = field(shown, (value) => this.set({ [name]: value }), options);
    return this.fields[name].element;
  }

  // Take settings, show them in their fields, and draw anew.
  set(values) {
    this.take(values);
    this.page.touched(this);
    this.wish();
  }

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

  // Faces of latents; null where newer ones, or another model's, were asked for since.
  async decode(model, z, by = this) {
    return this.models.includes(model) ? this.page.decoder.decode(model.name, z, { by }) : null;
  }

  // Whether the tab shows what it shows first, whatever some of its settings are.
  isFirst(whatever = []) {
    const first = Object.entries(firstOf(this));
    return first.every(([name, value]) => whatever.includes(name) || this.settings[name] === value);
  }

  // The faces that came along for that; null for anything else.
  async first(name, whatever) {
    const came = this.isFirst(whatever) && this.models.every(({ about }) => about.first !== false);
    return came ? this.page.first(name) : null;
  }

  // Draw once; while that goes on, only the last of all further wishes counts. One for other models does not wait for
  // those that are on their way.
  wish() {
    this.again = true;
    if (`${this.models.map(({ name }) => name)}` !== this.drawn) this.abandon?.();
    this.drawing ??= this.#drawWishes().finally(() => (this.drawing = null));
    return this.drawing;
  }

  async #drawWishes() {
    const busy = setTimeout(() => this.element.setAttribute("aria-busy", "true"), BUSY_AFTER);
    while (this.again) {
      this.again = false;
      this.drawn = `${this.models.map(({ name }) => name)}`;
      try {
        await Promise.race([this.draw(), new Promise((resolve) => (this.abandon = resolve))]);
        this.problem.replaceChildren();
      } catch (error) {
        this.problem.replaceChildren(complaint(error.message));
      }
      // A frame for each drawing: the hand that moves a slider is heard between them.
      if (this.again) await new Promise(requestAnimationFrame);
    }
    clearTimeout(busy);
    this.element.removeAttribute("aria-busy");
  }
}
