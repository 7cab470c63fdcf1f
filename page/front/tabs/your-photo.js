// A photograph with other attributes, and what each autoencoder keeps of it.

import { fold } from "../controls.js";
import { button, download, foreign, h } from "../dom.js";
import { Found, photograph } from "../photo/field.js";
import { pngWith } from "../png.js";
import { Tab } from "../tab.js";
import { readRecipe, sample } from "../values.js";
import { IN_SIGHT } from "./generate.js";
import { canvas, difference, paint, psnr } from "../views.js";

// Sliders that are not folded.
const SHOWN = 12;
const PREFIX = "attribute.";
const GAIN = 2;
// The face until there is a photograph.
const EXAMPLE = "0/4";

export class YourPhoto extends Tab {
  constructor(page, about) {
    super(page, about);
    // The one with attributes first.
    const coders = [...page.models.values()].filter(({ encodes }) => encodes);
    this.coders = coders.toSorted((a, b) => (b.best.length > 0) - (a.best.length > 0));
    this.count = Math.min(1, coders.length);
    this.upload = photograph(page, "Your photograph", (found) => this.choose(found), {
      live: (found) => this.choose(found),
    });
    this.note = h("p", { class: "sentence", "aria-live": "polite" });
    this.stage = new BeforeAndAfter();
    this.photo = canvas("The photograph, as the networks see it");
    this.versions = this.coders.map((model) => new Version(model));
    this.others = button(`Compare ${coders.length - 1} more networks`, () => this.compare());
    this.row = h(
      "div",
      { class: "versions" },
      h("figure", {}, this.photo, h("figcaption", {}, "What the networks see")),
      this.versions.map(({ element }) => element),
      this.others,
    );
    this.found = coders.length ? undefined : null;
    const fields = this.sliders();
    this.result = h(
      "div",
      {},
      h("div", { class: "retouch" }, h("div", { class: "uncovering" }, this.stage.element, this.actions()), fields),
      h("h3", {}, "What each network keeps of it"),
      h("p", { class: "note" }, "Press a picture to see where it differs. The more decibels (dB), the closer it is."),
      this.row,
    );
    this.compare(this.count);
    this.element.append(this.upload.element, this.note, this.result);
  }

  sliders() {
    this.changes = this.controls.filter(({ name }) => name.startsWith(PREFIX));
    if (!this.changes.length) return null;
    const rank = ({ name }) => IN_SIGHT.indexOf(name.slice(PREFIX.length)) >>> 0; // -1 becomes the greatest.
    const sorted = this.changes.toSorted((a, b) => rank(a) - rank(b));
    const shown = sorted.slice(0, SHOWN);
    this.folded = sorted.slice(SHOWN);
    const fields = (some) => some.map(({ name, label }) => this.field(name, { label: foreign(label) }));
    this.more = fold(`More (${this.folded.length})`, h("div", { class: "directions" }, fields(this.folded)));
    return h(
      "div",
      {},
      h("h3", {}, "Change it"),
      h("div", { class: "directions" }, fields(shown)),
      this.folded.length > 0 && this.more,
      h(
        "p",
        { class: "note" },
        `1 is how faces with the attribute differ from others, on average. ${this.page.about.notes.attributes}`,
      ),
    );
  }

  actions() {
    const reset = () => this.set(Object.fromEntries(this.changes.map(({ name }) => [name, 0])));
    const save = async () => {
      await this.drawing;
      if (this.stage.after) download(await pngWith(this.stage.after, { Software: "Latent Faces" }), "your-photo.png");
    };
    return h(
      "div",
      { class: "actions" },
      this.changes.length > 0 && button("Reset", reset),
      button("Save picture", save),
    );
  }

  // Where a link has moved a slider that is folded.
  unfold() {
    if (this.folded?.some(({ name }) => this.settings[name])) this.more.open = true;
  }

  get models() {
    return this.coders.slice(0, this.count);
  }

  // Show so many of the networks, at first the best alone: each has megabytes to load.
  compare(count = this.coders.length) {
    this.count = count;
    this.versions.forEach(({ element }, index) => (element.hidden = index >= count));
    this.others.hidden = count === this.coders.length;
    if (this.visited) this.wish();
  }

  choose(found) {
    this.found = found;
    return this.wish();
  }

  // A drawn face, lest the page begin empty: its latent is known, and needs no encoder.
  async example() {
    const [model] = this.coders;
    await model.ready();
    const recipe = readRecipe(EXAMPLE);
    const z = sample(model, recipe, recipe.face).slice(-model.latentSize);
    const seen = await this.page.decoder.decode(model.name, z);
    const note = `Choose a photo of a face. Until then, here is one that the ${model.said} drew.`;
    return new Found(this.page, { seen, note, drawn: { model: model.name, z } });
  }

  async draw() {
    if (!this.coders.length) throw new Error("No network here can take a photograph: none has an encoder.");
    this.result.hidden = this.found === null;
    if (this.found !== null) this.found ??= await this.example();
    const { found } = this;
    const told = found?.note ?? "";
    if (this.note.textContent !== told) this.note.textContent = told; // A camera's faces are told of once.
    if (!found) return;
    paint(this.photo, found.seen);
    await Promise.all(this.models.map((model, index) => this.drawVersion(found, model, this.versions[index])));
  }

  async drawVersion(found, model, version) {
    const [z] = await Promise.all([found.latent(model), model.ready()]);
    const drawn = [this.page.decoder.decode(model.name, z, { by: version })];
    if (model === this.coders[0]) {
      const moves = model.best.map((name) => [name, this.settings[PREFIX + name]]).filter(([, value]) => value);
      const moved = model.withAttributes(z, Object.fromEntries(moves));
      drawn.push(this.page.decoder.decode(model.name, moved, { by: this.stage }));
    }
    const [kept, changed] = await Promise.all(drawn);
    if (found !== this.found) return;
    if (kept) version.show(kept, found.seen);
    if (changed) this.stage.show(found.seen, changed);
  }
}

// Two faces in one place, of which a slider uncovers one.
class BeforeAndAfter {
  constructor() {
    this.faces = [canvas("The photograph"), canvas("The face as the network draws it, with the attributes")];
    const uncover = () => this.element.style.setProperty("--split", `${this.range.value}%`);
    this.range = h("input", { type: "range", min: 0, max: 100, value: 50, oninput: uncover });
    this.range.setAttribute("aria-label", "Before and after");
    this.element = h(
      "div",
      { class: "portrait uncover" },
      this.faces,
      h("span", { class: "before" }, "Before"),
      h("span", { class: "after" }, "After"),
      this.range,
    );
    uncover();
  }

  show(before, after) {
    this.after = after;
    [before, after].forEach((pixels, index) => paint(this.faces[index], pixels));
  }
}

// A network's version of the photograph, and while it is pressed where they differ.
class Version {
  constructor({ name, said }) {
    this.said = said;
    this.canvas = canvas();
    this.caption = h("figcaption");
    this.name = name;
    this.told = "";
    const press = (on) => () => this.press(on);
    const isPress = ({ key }) => key === " " || key === "Enter";
    this.button = button(this.canvas, () => {}, {
      onpointerdown: press(true),
      onkeydown: (event) => isPress(event) && this.press(true),
      ...Object.fromEntries(
        ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"].map((kind) => [`on${kind}`, press(false)]),
      ),
      oncontextmenu: (event) => event.preventDefault(), // A long press on a phone.
    });
    this.element = h("figure", {}, this.button, this.caption);
    this.press(false);
  }

  press(on) {
    this.isPressed = on;
    const where = on ? "where it differs from the photograph" : "press to see where it differs from the photograph";
    this.canvas.setAttribute("aria-label", `The photograph by the ${this.said}: ${where}`);
    this.caption.replaceChildren(this.name, h("br"), on ? `difference × ${GAIN}` : this.told);
    if (this.faces) paint(this.canvas, this.faces[on ? 1 : 0]);
  }

  show(face, photograph) {
    this.faces = [face, difference(face, photograph, GAIN).pixels];
    const decibels = psnr(face, photograph);
    this.told = Number.isFinite(decibels) ? `${decibels.toFixed(1)} dB` : "the same";
    this.press(this.isPressed);
  }
}
