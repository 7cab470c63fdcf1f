// The way between two faces, and the plane through three.

import { fold } from "../controls.js";
import { button, download, h } from "../dom.js";
import { photograph } from "../photo/field.js";
import { gif } from "../png.js";
import { Tab } from "../tab.js";
import { readRecipe, sample } from "../values.js";
import { Faces, Film, SIDE, canvas, countOf, faceOf, isStill, join, paint } from "../views.js";

// The map shows so many faces in each direction, those it goes through among them, and half a face beyond.
const MAP = 5;
const BEYOND = 0.5 / (MAP - 1);
const KEY_STEP = 0.05;

export class Interpolate extends Tab {
  constructor(page, about) {
    super(page, about);
    this.smooth = page.about.constants.smooth_steps;
    this.photographs = {};
    this.film = new Film("The face on the way from A to B", { back: true, changed: () => this.follow() });
    this.scrubber = h("input", {
      type: "range",
      id: "scrubber",
      min: 0,
      max: this.smooth - 1,
      "aria-label": "From A to B",
      oninput: () => this.leave(Number(this.scrubber.value)),
    });
    this.playing = button("Play", () => (this.film.isPlaying ? this.film.stop() : this.film.play()));
    this.path = new Faces({ columns: 11, group: "Pictures from A to B", choose: (index) => this.choose(index) });
    this.notes = h("p", { class: "note" });
    this.discrete = this.field("discrete", { shown: { relaxed: "fade", switched: "flip halfway", held: "keep" } });
    this.ends = ["a", "b", "c"].map((name) => this.end(name));
    const [a, b, c] = this.ends.map(({ element }) => element);
    this.map = h("canvas", { width: MAP * SIDE, height: MAP * SIDE });
    this.pin = h("span", { class: "pin" });
    this.wandering = canvas("The face at the pin");
    this.plane = this.planeOf(this.map, this.pin);
    this.at = [0.5, 0.5];
    this.tell();
    this.element.append(
      h(
        "div",
        { class: "morph" },
        h(
          "div",
          { class: "portrait" },
          this.film.canvas,
          h("div", { class: "scrub" }, h("span", {}, "A"), this.scrubber, h("span", {}, "B")),
          h(
            "div",
            { class: "actions" },
            this.playing,
            button("Save as GIF", () => this.download()),
            page.copyButton(this),
          ),
        ),
        this.path.element,
        h("div", { class: "ends" }, a, b, this.notes),
      ),
      fold(
        "Model and way",
        h(
          "div",
          { class: "controls" },
          ["model", "steps"].map((name) => this.field(name)),
          this.field("way", { shown: { straight: "straight line", spherical: "arc" } }),
          this.discrete,
        ),
      ),
      h("h3", {}, "A map of three faces"),
      h("p", { class: "note" }, "Every point is a mixture of A, B and C. Drag the pin, or tap anywhere."),
      h("div", { class: "wander" }, this.plane, h("div", { class: "found" }, this.wandering, c)),
    );
  }

  // A card for one of the ends: its face, its recipe, and a photograph in its place.
  end(name) {
    const letter = name.toUpperCase();
    const face = canvas(`Face ${letter}`);
    const recipe = this.field(name, { label: `${letter}: seed / face`, roll: `Another face ${letter}` });
    this.fields[name].input.setAttribute("aria-description", "A seed such as 7, or the third face of a seed: 7/3");
    const image =
      name !== "c" &&
      photograph(this.page, `A photograph as ${letter}`, (found) => {
        this.photographs[name] = found;
        this.wish();
      });
    const folded = image && fold("Use a photograph", image.element);
    return { name, letter, face, image, folded, element: h("div", { class: "end" }, face, recipe, folded) };
  }

  planeOf(map, pin) {
    const corners = [
      ["A", 0, 0],
      ["B", 1, 0],
      ["C", 0, 1],
    ].map(([letter, u, v]) => h("span", { class: "corner", style: position(u - 0.07, v - 0.07) }, letter));
    const plane = h(
      "div",
      {
        class: "map",
        tabindex: 0,
        role: "slider",
        "aria-label": "Place on the map: left and right from A to B, up and down from A to C",
        "aria-valuemin": Math.round(-100 * BEYOND),
        "aria-valuemax": Math.round(100 * (1 + BEYOND)),
        onpointerdown: (event) => {
          plane.setPointerCapture(event.pointerId);
          this.wander(event);
        },
        onpointermove: (event) => event.buttons && this.wander(event),
        onkeydown: (event) => this.step(event),
      },
      map,
      corners,
      pin,
    );
    return plane;
  }

  take(values) {
    for (const { name, image } of this.ends) {
      if (!(name in values)) continue;
      delete this.photographs[name]; // A recipe takes a photograph's place.
      if (image) image.clear();
    }
    super.take(values);
  }

  vet(values) {
    const problems = {};
    for (const { name } of this.ends) {
      try {
        readRecipe(values[name]);
      } catch (error) {
        problems[name] = error.message;
      }
    }
    return problems;
  }

  async latent({ name, letter }, notes) {
    const { model } = this;
    const found = this.photographs[name];
    const recipe = !found ? this.settings[name] : found.drawn?.model === model.name ? found.drawn.recipe : null;
    if (recipe !== null) {
      if (found) notes.push(`${letter}: drawn by this model, so that its latent is known.`);
      const read = readRecipe(recipe);
      return sample(model, read, read.face).slice(-model.latentSize);
    }
    if (!model.encodes) {
      throw new Error(`The ${model.said} has no encoder, so it cannot start from a photograph: choose an autoencoder.`);
    }
    notes.push(`${letter}: ${found.note}`);
    return found.latent(model);
  }

  async latents(notes = []) {
    await this.model.ready();
    return Promise.all(this.ends.map((end) => this.latent(end, notes)));
  }

  async draw() {
    const { model } = this;
    const { steps, way, discrete } = this.settings;
    this.discrete.hidden = !model.discreteSize;
    for (const { folded } of this.ends) if (folded) folded.hidden = !model.encodes;
    const notes = [];
    const came = Object.keys(this.photographs).length ? null : await this.first("morph");
    let pixels = came;
    if (!came) {
      const corners = await this.latents(notes);
      const [a, b] = corners;
      const paths = [this.smooth, steps].map((count) => model.interpolate(a, b, count, way, discrete));
      pixels = await this.decode(model, join([...paths, ...corners]));
      if (!pixels) return;
      this.corners = corners;
    } else this.corners = null;
    const part = (from, count) => pixels.subarray(from * SIDE * SIDE * 4, (from + count) * SIDE * SIDE * 4);
    const names = Array.from({ length: steps }, (_, i) => `Picture ${i + 1} of ${steps} from A to B, ${model.name}`);
    this.path.element.style.setProperty("--columns", steps);
    this.path.show(part(this.smooth, steps), names);
    const isArrival = !this.film.pixels;
    this.film.show(part(0, this.smooth), isArrival ? this.smooth / 2 : this.film.at);
    if (isArrival && !isStill()) this.film.play();
    this.ends.forEach(({ face }, index) => paint(face, part(this.smooth + steps + index, 1)));
    this.notes.textContent = notes.join(" ");
    if (came) this.showMap(part(this.smooth + steps + 3, MAP * MAP), "came along");
    else await this.drawMap();
  }

  // The scrubber, the strip and the button say where the film is.
  follow() {
    const { at, isPlaying } = this.film;
    this.scrubber.value = at;
    this.scrubber.setAttribute("aria-valuetext", `${Math.round((100 * at) / (this.smooth - 1))} % of the way to B`);
    this.path.chosen = Math.round((at / (this.smooth - 1)) * (this.path.cells.length - 1));
    this.playing.textContent = isPlaying ? "Pause" : "Play";
  }

  // Stop at a place.
  leave(at) {
    this.film.stop();
    this.film.seek(at);
  }

  // Show one of the strip's pictures, which lie between those of the film.
  choose(index) {
    this.leave(Math.round((index / (this.path.cells.length - 1)) * (this.smooth - 1)));
    this.path.chosen = index;
    paint(this.film.canvas, faceOf(this.path.pixels, index));
  }

  // Latents of the plane; bits pass through all values between.
  point([a, b, c], u, v) {
    return a.map((value, i) => value + u * (b[i] - value) + v * (c[i] - value));
  }

  async drawMap() {
    const { corners } = this;
    const key = `${this.model.name} ${join(corners)}`;
    await this.drawPin();
    if (this.again || this.mapped === key) return; // The hand goes first.
    const shares = Array.from({ length: MAP }, (_, i) => i / (MAP - 1));
    const points = shares.toReversed().flatMap((v) => shares.map((u) => this.point(corners, u, v)));
    const pixels = await this.decode(this.model, join(points), this.map);
    if (pixels) this.showMap(pixels, key);
  }

  showMap(pixels, key) {
    const context = this.map.getContext("2d");
    for (let i = 0; i < countOf(pixels); i++) {
      const face = new ImageData(new Uint8ClampedArray(faceOf(pixels, i)), SIDE, SIDE);
      context.putImageData(face, (i % MAP) * SIDE, Math.floor(i / MAP) * SIDE);
    }
    this.mapped = key;
    if (!this.corners) {
      this.at = [0.5, 0.5];
      this.tell();
      paint(this.wandering, faceOf(pixels, (MAP * MAP - 1) / 2));
    }
  }

  async drawPin() {
    this.corners ??= await this.latents();
    const pixels = await this.decode(this.model, this.point(this.corners, ...this.at), this.pin);
    if (pixels) paint(this.wandering, pixels);
  }

  wander(event) {
    const box = this.plane.getBoundingClientRect();
    const share = (value) => Math.min(1, Math.max(0, value)) * (1 + 2 * BEYOND) - BEYOND;
    this.moveTo(share((event.clientX - box.left) / box.width), share(1 - (event.clientY - box.top) / box.height));
  }

  // Home and End are the ends of the way that the slider tells of, from A to B.
  step(event) {
    const [u, v] = this.at;
    const within = (value) => Math.min(1 + BEYOND, Math.max(-BEYOND, value));
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const to = by ? [u + KEY_STEP * by[0], v + KEY_STEP * by[1]] : { Home: [0, v], End: [1, v] }[event.key];
    if (!to) return;
    event.preventDefault();
    this.moveTo(...to.map(within));
  }

  // The pin alone, while nothing else is drawn; the last place of the hand counts.
  async moveTo(...at) {
    this.at = at;
    this.tell();
    if (this.moving || !this.mapped) return;
    this.moving = true;
    let drawn;
    while (drawn !== this.at) {
      drawn = this.at;
      await this.drawPin().catch(() => {});
    }
    this.moving = false;
  }

  // Where the pin is.
  tell() {
    const [u, v] = this.at.map((share) => Math.round(100 * share));
    this.pin.style = position(...this.at);
    this.plane.setAttribute("aria-valuenow", u);
    this.plane.setAttribute("aria-valuetext", `${u} % from A to B, ${v} % from A to C`);
  }

  async download() {
    const { model, settings } = this;
    const name = [model.about.folder, settings.a, settings.b].join("-").replace(/[^\w-]+/g, "-");
    download(await gif(this.film.pixels), `${name.slice(0, 80)}.gif`);
  }
}

const position = (u, v) => {
  const share = (value) => `${(100 * (value + BEYOND)) / (1 + 2 * BEYOND)}%`;
  return `left: ${share(u)}; bottom: ${share(v)}`;
};
