// The way between two faces, and the plane through three.

import { button, download, h } from "../dom.js";
import { gif } from "../png.js";
import { Tab } from "../tab.js";
import { readRecipe, sample } from "../values.js";
import { Faces, SIDE, Walk, canvas, faceOf, join, paint } from "../views.js";
import { photograph } from "../photograph.js";

const SMOOTH_STEPS = 24;

// The map shows so many faces in each direction, those it goes through among them, and half a face beyond.
const MAP = 5;
const BEYOND = 0.5 / (MAP - 1);

export class Interpolate extends Tab {
  constructor(page, about) {
    super(page, about);
    this.photographs = {};
    this.path = new Faces({ columns: 11 });
    this.walk = new Walk();
    this.notes = h("p", { class: "note" });
    this.discrete = this.field("discrete", { label: "Bits on the way" });
    this.ends = ["a", "b", "c"].map((name) => this.end(name));
    this.map = h("canvas", { width: MAP * SIDE, height: MAP * SIDE });
    this.pin = h("span", { class: "pin" });
    this.at = [0.5, 0.5];
    this.wandering = canvas("The face at the pin");
    const move = (event) => event.buttons && this.wander(event);
    this.plane = h(
      "div",
      {
        class: "map",
        tabindex: 0,
        role: "application",
        "aria-label": "Map of the plane through A, B and C: drag the pin, or move it with the arrow keys",
        onpointerdown: (event) => {
          this.plane.setPointerCapture(event.pointerId);
          this.wander(event);
        },
        onpointermove: move,
        onkeydown: (event) => this.step(event),
      },
      this.map,
      [
        ["A", 0, 0],
        ["B", 1, 0],
        ["C", 0, 1],
      ].map(([letter, u, v]) => h("span", { class: "corner", style: position(u - 0.07, v - 0.07) }, letter)),
      this.pin,
    );
    const gifButton = button("Download the walk (GIF)", () => this.download());
    this.element.append(
      h(
        "div",
        { class: "controls" },
        ["model", "steps", "way"].map((name) => this.field(name)),
        this.discrete,
      ),
      h(
        "div",
        { class: "ends" },
        this.ends.map(({ element }) => element),
      ),
      this.notes,
      h("h3", {}, "From A to B"),
      this.path.element,
      h("div", { class: "actions walking" }, this.walk.element, gifButton),
      h("h3", {}, "A map to wander in"),
      h("p", { class: "note" }, "The plane through A, B and C. Drag the pin."),
      h("div", { class: "wander" }, this.plane, this.wandering),
    );
  }

  // A card for one of the ends: its recipe, its face, and a photograph in its place.
  end(name) {
    const letter = name.toUpperCase();
    const face = canvas(`Face ${letter}`);
    const recipe = this.field(name, { label: `${letter}: seed, or seed/face`, roll: true });
    const image =
      name !== "c" && this.page.server
        ? photograph(this.page, `${letter}: a photograph instead`, (found) => {
            this.photographs[name] = found;
            this.wish();
          })
        : null;
    return { name, letter, face, image, element: h("div", { class: "end" }, face, recipe, image?.element) };
  }

  set(values) {
    for (const { name, image } of this.ends) {
      if (!(name in values)) continue;
      delete this.photographs[name]; // A recipe takes a photograph's place.
      image?.clear();
    }
    super.set(values);
  }

  latent({ name, letter }, notes) {
    const { model } = this;
    const found = this.photographs[name];
    if (!found) {
      const recipe = readRecipe(this.settings[name]);
      return sample(model, recipe, recipe.face).slice(-model.latentSize);
    }
    if (found.drawn?.model === model.name) {
      notes.push(`${letter}: drawn by this model, so that its latent is known.`);
      const recipe = readRecipe(found.drawn.recipe);
      return sample(model, recipe, recipe.face).slice(-model.latentSize);
    }
    if (!found.latents[model.name]) {
      throw new Error(`The ${model.said} has no encoder, so it cannot start from a photograph: choose an autoencoder.`);
    }
    notes.push(`${letter}: ${found.note}`);
    return found.latents[model.name];
  }

  async draw() {
    const { model } = this;
    const { steps, way, discrete } = this.settings;
    await model.ready();
    this.discrete.hidden = !model.discreteSize;
    for (const { image } of this.ends) if (image) image.element.hidden = !model.encodes;
    const notes = [];
    this.corners = this.ends.map((end) => this.latent(end, notes));
    const [a, b] = this.corners;
    const z = join(
      [steps, SMOOTH_STEPS].map((count) => model.interpolate(a, b, count, way, discrete)).concat(this.corners),
    );
    const pixels = await this.page.decode(model, z);
    const part = (from, count) => pixels.subarray(from * SIDE * SIDE * 4, (from + count) * SIDE * SIDE * 4);
    const names = Array.from({ length: steps }, (_, i) => `Picture ${i + 1} of ${steps} from A to B, ${model.name}`);
    this.path.element.style.setProperty("--columns", steps);
    this.path.show(part(0, steps), names);
    this.walk.show(part(steps, SMOOTH_STEPS));
    this.ends.forEach(({ face }, index) => paint(face, part(steps + SMOOTH_STEPS + index, 1)));
    this.notes.textContent = notes.join(" ");
    await this.drawMap();
  }

  // A latent of the plane; bits pass through all values between.
  point(u, v) {
    const [a, b, c] = this.corners;
    return a.map((value, i) => value + u * (b[i] - value) + v * (c[i] - value));
  }

  async drawMap() {
    const key = `${this.model.name} ${join(this.corners)}`;
    await this.drawPin();
    if (this.again || this.mapped === key) return; // The hand goes first.
    const shares = Array.from({ length: MAP }, (_, i) => i / (MAP - 1));
    const points = shares.toReversed().flatMap((v) => shares.map((u) => this.point(u, v)));
    const pixels = await this.page.decode(this.model, join(points));
    const context = this.map.getContext("2d");
    points.forEach((_, i) => {
      const face = new ImageData(new Uint8ClampedArray(faceOf(pixels, i)), SIDE, SIDE);
      context.putImageData(face, (i % MAP) * SIDE, Math.floor(i / MAP) * SIDE);
    });
    this.mapped = key;
  }

  async drawPin() {
    this.pin.style = position(...this.at);
    paint(this.wandering, await this.page.decode(this.model, this.point(...this.at)));
  }

  wander(event) {
    const box = this.plane.getBoundingClientRect();
    const share = (value) => Math.min(1, Math.max(0, value)) * (1 + 2 * BEYOND) - BEYOND;
    this.moveTo(share((event.clientX - box.left) / box.width), share(1 - (event.clientY - box.top) / box.height));
  }

  step(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const within = (value) => Math.min(1 + BEYOND, Math.max(-BEYOND, value));
    this.moveTo(...this.at.map((value, i) => within(value + 0.05 * by[i])));
  }

  // The pin alone, while nothing else is drawn; the last place of the hand counts.
  async moveTo(...at) {
    this.at = at;
    this.pin.style = position(...at);
    if (!this.corners || this.moving) return;
    this.moving = true;
    let drawn;
    while (drawn !== this.at) {
      drawn = this.at;
      await this.drawPin().catch(() => {});
    }
    this.moving = false;
  }

  async download() {
    await this.drawing;
    download(await gif(this.walk.pixels), "walk.gif");
  }
}

const position = (u, v) => {
  const share = (value) => `${(100 * (value + BEYOND)) / (1 + 2 * BEYOND)}%`;
  return `left: ${share(u)}; bottom: ${share(v)}`;
};
