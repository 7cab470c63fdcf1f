// What all tabs have in common: settings that a link carries, fields for them, and drawing anew when one changes.

import { field } from "./controls.js";
import { h } from "./dom.js";
import { complaint } from "./values.js";

// Who waits for less than this sees nothing of it.
const BUSY_AFTER = 300;

export class Tab {
  constructor(page, { name, title, controls }) {
    Object.assign(this, { page, name, title, controls });
    this.settings = Object.fromEntries(controls.map(({ name, value }) => [name, value]));
    this.fields = {};
    this.problem = h("div");
    this.element = h(
      "section",
      { role: "tabpanel", id: `tab-${name}`, "aria-labelledby": `open-${name}` },
      this.problem,
    );
  }

  // The field of one of the settings, made here.
  field(name, options = {}) {
    const control = this.controls.find((control) => control.name === name);
    this.fields[name] = field(control, (value) => this.set({ [name]: value }), options);
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

  get model() {
    return this.page.models.get(this.settings.model);
  }

  // Draw once; while that goes on, only the last of all further wishes counts.
  wish() {
    this.again = true;
    this.drawing ??= this.#drawWishes().finally(() => (this.drawing = null));
    return this.drawing;
  }

  async #drawWishes() {
    const busy = setTimeout(() => this.element.setAttribute("aria-busy", "true"), BUSY_AFTER);
    while (this.again) {
      this.again = false;
      try {
        await this.draw();
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
