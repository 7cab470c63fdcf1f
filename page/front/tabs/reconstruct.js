// Your photo: a photograph with other attributes, and what each autoencoder keeps of it.

import { fold } from "../controls.js";
import { button, download, h } from "../dom.js";
import { Found, photograph } from "../photo/field.js";
import { pngWith } from "../png.js";
import { Tab } from "../tab.js";
import { canvas, difference, faceOf, paint, psnr } from "../views.js";
import { IN_SIGHT } from "./generate.js";

// So many sliders are not folded.
const SHOWN = 12;
const PREFIX = "attribute.";
const GAIN = 2;

export default class Reconstruct extends Tab {
  constructor(page, about) {
    super(page, about);
    // A model with attributes comes first.
    const coders = [...page.models.values()].filter(({ encodes }) => encodes);
    this.coders = coders.toSorted((a, b) => (b.best.length > 0) - (a.best.length > 0));
    this.found = coders.length ? undefined : null;
    const choose = (found) => this.choose(found);
    this.upload = photograph(page, "Your photograph", choose, { live: choose });
    this.note = h("p.sentence", { "aria-live": "polite" });
    this.stage = new BeforeAndAfter();
    this.photo = canvas("The photograph, as the networks see it");
    this.versions = this.coders.map((model) => new Version(model));
    this.others = button(`Compare ${coders.length - 1} more networks`, () => {
      this.compare(coders.length);
      this.redraw();
    });
    this.changes = this.controls.filter(({ name }) => name.startsWith(PREFIX));
    this.result = h("div", [
      h("div.retouch", [
        h("div.uncovering", [this.stage.element, this.actions()]),
        this.changes.length > 0 && this.sliders(),
      ]),
      h("h3", "What each network keeps of it"),
      h("p.note", "Press a picture to see where it differs. The more decibels (dB), the closer it is."),
      h("div.versions", [
        h("figure", [this.photo, h("figcaption", "What the networks see")]),
        this.versions.map(({ element }) => element),
        this.others,
      ]),
    ]);
    this.compare(1);
    this.element.append(this.upload.element, this.note, this.result);
  }

  sliders() {
    const rank = ({ name }) => IN_SIGHT.indexOf(name.slice(PREFIX.length)) >>> 0; // -1 becomes the greatest.
    const sorted = this.changes.toSorted((a, b) => rank(a) - rank(b));
    const fields = sorted.map(({ name }) => this.field(name));
    const directions = (some) => h("div.directions", some);
    this.folded = sorted.slice(SHOWN);
    this.more = fold(`More (${this.folded.length})`, directions(fields.slice(SHOWN)));
    const meaning = "1 is the average difference between faces with the attribute and faces without.";
    return h("div", [
      h("h3", "Change it"),
      directions(fields.slice(0, SHOWN)),
      this.folded.length > 0 && this.more,
      h("p.note", `${meaning} ${this.page.about.notes.attributes}`),
    ]);
  }

  actions() {
    const reset = () => this.set(Object.fromEntries(this.changes.map(({ name }) => [name, 0])));
    const save = async () => {
      await this.drawing;
      if (this.stage.after) download(await pngWith(this.stage.after, { Software: "Latent Faces" }), "your-photo.png");
    };
    return h("div.actions", [this.changes.length > 0 && button("Reset", reset), button("Save picture", save)]);
  }

  // Where a link has moved a slider that is folded.
  unfold() {
    if (this.folded?.some(({ name }) => this.settings[name])) this.more.open = true;
  }

  get models() {
    return this.coders.slice(0, this.count);
  }

  // Shows so many of the networks. Each has megabytes to load, so only the best is shown at first.
  compare(count) {
    this.count = count;
    this.versions.forEach(({ element }, index) => (element.hidden = index >= count));
    this.others.hidden = count >= this.coders.length;
  }

  choose(found) {
    this.found = found;
    return this.redraw({ isOther: true });
  }

  // The face that is shown until there is a photograph. It came with the page, as face A of Morph.
  async example(signal) {
    const [model] = this.coders;
    const recipe = this.page.tab("interpolate").control("a").first;
    const note = `Choose a photo of a face. Until then, here is one that the ${model.said} drew.`;
    const found = new Found(this.page, { note, drawn: { model: model.name, recipe } });
    const came = await this.first("morph", signal);
    found.seen = came ? faceOf(came, 0) : await this.page.decoder.decode(model, await found.latent(model), signal);
    return found;
  }

  async draw(signal) {
    if (!this.coders.length) throw new Error("No network here can take a photograph: none has an encoder.");
    const found = this.found === undefined ? await this.example(signal) : this.found;
    signal.throwIfAborted();
    this.found = found;
    this.result.hidden = !found;
    const told = found?.note ?? "";
    if (this.note.textContent !== told) this.note.textContent = told; // A camera's faces are told of once.
    if (!found) return;
    paint(this.photo, found.seen);
    // A photograph is shown at once, since encoders have megabytes to load.
    if (found !== this.versions[0].found && found.steps) this.stage.show(found.seen, found.seen);
    await Promise.all(this.models.map((model, index) => this.drawVersion(found, model, this.versions[index], signal)));
  }

  async drawVersion(found, model, version, signal) {
    const decode = async (attributes) => {
      const [z] = await Promise.all([found.latent(model), model.ready()]);
      return this.page.decoder.decode(model, model.withAttributes(z, attributes), signal);
    };
    if (version.found !== found) {
      const isOwn = found.drawn?.model === model.name; // Then its latent is known.
      version.show(isOwn ? found.seen : await decode({}), found.seen);
      version.found = found;
    }
    if (model !== this.coders[0]) return;
    const moves = model.best.map((name) => [name, this.settings[PREFIX + name]]).filter(([, value]) => value);
    this.stage.show(found.seen, moves.length ? await decode(Object.fromEntries(moves)) : version.faces[0]);
  }
}

// Two faces in one place, and a slider between them.
class BeforeAndAfter {
  constructor() {
    this.faces = [canvas("The photograph"), canvas("The face as the network draws it, with the attributes")];
    const uncover = () => this.element.style.setProperty("--split", `${range.value}%`);
    const about = { type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after" };
    const range = h("input", { ...about, oninput: uncover });
    this.element = h("div.portrait.uncover", [this.faces, h("span.before", "Before"), h("span.after", "After"), range]);
    uncover();
  }

  show(before, after) {
    this.after = after;
    [before, after].forEach((pixels, index) => paint(this.faces[index], pixels));
  }
}

// A network's version of the photograph. While it is pressed, it shows where they differ.
class Version {
  constructor({ name, said }) {
    Object.assign(this, { name, said, canvas: canvas(), caption: h("figcaption"), told: "", faces: null });
    const press = (on) => () => this.press(on);
    const off = ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"];
    const pressed = button(this.canvas, () => {}, {
      onpointerdown: press(true),
      onkeydown: ({ key }) => [" ", "Enter"].includes(key) && this.press(true),
      ...Object.fromEntries(off.map((kind) => [`on${kind}`, press(false)])),
      oncontextmenu: (event) => event.preventDefault(), // It would open on a long press on a phone.
    });
    this.element = h("figure", [pressed, this.caption]);
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
