// Morph: the way between two faces, and the plane through three.

import { fold, isShortcut } from "../controls.js";
import { button, download, h } from "../dom.js";
import { photograph } from "../photo/field.js";
import { gif } from "../png.js";
import { Tab } from "../tab.js";
import { checkFits, latentOf, readRecipe } from "../values.js";
import { Faces, Film, SIDE, canvas, countOf, faceOf, facesOf, isStill, join, paint } from "../views.js";

// The map has so many faces in each direction. A, B and C lie in the middle of its corner faces.
const MAP = 5;
const BEYOND = 0.5 / (MAP - 1);
const KEY_STEP = 0.05;
// The pin's first place, in shares of the way from A to B and to C.
const CENTRE = [0.5, 0.5];

export default class Interpolate extends Tab {
  constructor(page, about) {
    super(page, about);
    const { smooth_steps, frame_milliseconds } = page.about.constants;
    this.smooth = smooth_steps;
    this.photographs = {};
    this.film = new Film("The face on the way from A to B", frame_milliseconds, {
      back: true,
      changed: () => this.follow(),
    });
    this.scrubber = h("input", {
      type: "range",
      id: "scrubber",
      min: 0,
      max: this.smooth - 1,
      "aria-label": "From A to B",
      oninput: () => this.leave(Number(this.scrubber.value)),
    });
    this.playing = button("Play", () => (this.film.isPlaying ? this.film.stop() : this.film.play()));
    this.path = new Faces({ group: "Pictures from A to B", choose: (index) => this.choose(index) });
    this.notes = h("p.note");
    this.discrete = this.field("discrete", { shown: { relaxed: "fade", switched: "flip halfway", held: "keep" } });
    this.ends = ["a", "b", "c"].map((name) => this.end(name));
    const [a, b, c] = this.ends.map(({ element }) => element);
    this.found = canvas("The face at the pin");
    this.plane = this.planeOf();
    this.tell(CENTRE);
    this.element.append(
      h("div.morph", [
        h("div.portrait", [
          this.film.canvas,
          h("div.scrub", [h("span", "A"), this.scrubber, h("span", "B")]),
          h("div.actions", [this.playing, button("Save as GIF", () => this.download()), page.copyButton(this)]),
        ]),
        this.path.element,
        h("div.ends", [a, b, this.notes]),
      ]),
      fold(
        "Model and way",
        h("div.controls", [
          this.field("model"),
          this.field("steps"),
          this.field("way", { shown: { straight: "straight line", spherical: "arc" } }),
          this.discrete,
        ]),
      ),
      h("h3", "A map of three faces"),
      h("p.note", "Every point is a mixture of A, B and C. Drag the pin, or tap anywhere."),
      h("div.wander", [this.plane, h("div.found", [this.found, c])]),
    );
  }

  // Makes a card for A, B or C: its face, its recipe, and a field for a photograph.
  end(name) {
    const letter = name.toUpperCase();
    const face = canvas(`Face ${letter}`);
    const recipe = this.field(name, { label: `${letter}: seed / face`, roll: `Another face ${letter}` });
    this.fields[name].input.setAttribute("aria-description", "A seed such as 7, or the third face of a seed: 7/3");
    const choose = (found) => {
      this.photographs[name] = found;
      this.redraw();
    };
    const image = name === "c" ? null : photograph(this.page, `A photograph as ${letter}`, choose);
    const folded = image && fold("Use a photograph", image.element);
    return { name, letter, face, image, folded, element: h("div.end", [face, recipe, folded]) };
  }

  planeOf() {
    this.map = h("canvas", { width: MAP * SIDE, height: MAP * SIDE });
    this.pin = h("span.pin");
    const corners = Object.entries({ A: [0, 0], B: [1, 0], C: [0, 1] }).map(([letter, [u, v]]) =>
      h("span.corner", { style: position(u - 0.07, v - 0.07) }, letter),
    );
    const about = {
      class: "map",
      tabindex: 0,
      role: "slider",
      "aria-label": "Place on the map: left and right from A to B, up and down from A to C",
      "aria-valuemin": Math.round(-100 * BEYOND),
      "aria-valuemax": Math.round(100 * (1 + BEYOND)),
      onpointerdown: (event) => {
        this.plane.setPointerCapture(event.pointerId);
        this.wander(event);
      },
      onpointermove: (event) => event.buttons && this.wander(event),
      onkeydown: (event) => this.step(event),
    };
    return h("div", about, [this.map, corners, this.pin]);
  }

  take(values) {
    for (const { name, image } of this.ends) {
      if (!(name in values)) continue;
      delete this.photographs[name]; // A recipe replaces the photograph.
      image?.clear();
    }
    super.take(values);
  }

  vet(name, values) {
    if (this.ends.some((end) => end.name === name))
      checkFits(this.page.models.get(values.model), readRecipe(values[name]));
  }

  async latent({ name, letter }, notes) {
    const { model } = this;
    const found = this.photographs[name];
    if (!found) return latentOf(model, readRecipe(this.settings[name]));
    if (found.drawn?.model === model.name) {
      notes.push(`${letter}: this model drew it, so its latent is known.`);
    } else if (!model.encodes) {
      throw new Error(`The ${model.said} has no encoder, so it cannot start from a photograph: choose an autoencoder.`);
    } else notes.push(`${letter}: ${found.note}`);
    return found.latent(model);
  }

  async draw(signal) {
    const { model } = this;
    const { steps, way, discrete } = this.settings;
    this.discrete.hidden = !model.discreteSize;
    for (const { folded } of this.ends) if (folded) folded.hidden = !model.encodes;
    const notes = [];
    const isChanged = Object.keys(this.photographs).length > 0 || `${this.at}` !== `${CENTRE}`;
    const came = isChanged ? null : await this.first("morph", signal);
    const corners = came ? [] : await Promise.all(this.ends.map((end) => this.latent(end, notes)));
    signal.throwIfAborted();
    const [a, b] = corners;
    const decode = (latents) => this.page.decoder.decode(model, join(latents), signal);
    const key = came ? "came along" : `${[model.name, steps, way, discrete]} ${corners}`;
    if (key !== this.drawn) {
      const paths = () => [this.smooth, steps].map((count) => model.interpolate(a, b, count, way, discrete));
      this.show(came ?? (await decode([...paths(), ...corners])), steps);
      this.drawn = key;
    }
    this.notes.textContent = notes.join(" ");
    const map = came && facesOf(came, this.smooth + steps + this.ends.length, MAP * MAP);
    paint(this.found, came ? faceOf(map, (MAP * MAP - 1) / 2) : await decode([mixture(corners, this.at)]));
    if (this.isAskedAgain || this.mapped === key) return; // A newer request goes first.
    const shares = Array.from({ length: MAP }, (_, i) => i / (MAP - 1));
    const points = shares.toReversed().flatMap((v) => shares.map((u) => [u, v]));
    this.showMap(map ?? (await decode(points.map((point) => mixture(corners, point)))));
    this.mapped = key;
  }

  // Shows the film, the strip and the ends.
  show(pixels, steps) {
    const { a, b } = this.settings;
    const name = [this.model.about.folder, a, b].join("-").replace(/[^\w-]+/g, "-");
    this.file = `${name.slice(0, 80)}.gif`;
    this.path.columns = steps;
    const nameOf = (index) => `Picture ${index + 1} of ${steps} from A to B, ${this.model.name}`;
    this.path.show(facesOf(pixels, this.smooth, steps), nameOf);
    const isArrival = !this.film.pixels;
    this.film.show(facesOf(pixels, 0, this.smooth), isArrival ? this.smooth / 2 : this.film.at);
    if (isArrival && !isStill()) this.film.play();
    this.ends.forEach(({ face }, index) => paint(face, faceOf(pixels, this.smooth + steps + index)));
  }

  showMap(pixels) {
    for (let i = 0; i < countOf(pixels); i++) {
      paint(this.map, faceOf(pixels, i), (i % MAP) * SIDE, Math.floor(i / MAP) * SIDE);
    }
  }

  // Shows in the scrubber, the strip and the button where the film is.
  follow() {
    const { at, isPlaying } = this.film;
    this.scrubber.value = at;
    this.scrubber.setAttribute("aria-valuetext", `${Math.round((100 * at) / (this.smooth - 1))} % of the way to B`);
    this.path.chosen = Math.round((at / (this.smooth - 1)) * (this.path.cells.length - 1));
    this.playing.textContent = isPlaying ? "Pause" : "Play";
  }

  // Stops the film at a frame.
  leave(at) {
    this.film.stop();
    this.film.seek(at);
  }

  // Shows a picture of the strip, which may lie between two frames of the film.
  choose(index) {
    this.leave(Math.round((index / (this.path.cells.length - 1)) * (this.smooth - 1)));
    this.path.chosen = index;
    paint(this.film.canvas, faceOf(this.path.pixels, index));
  }

  wander(event) {
    const box = this.plane.getBoundingClientRect();
    const share = (value) => value * (1 + 2 * BEYOND) - BEYOND;
    this.moveTo([share((event.clientX - box.left) / box.width), share(1 - (event.clientY - box.top) / box.height)]);
  }

  // Moves the pin by keys. Home and End lead to A and B.
  step(event) {
    const [u, v] = this.at;
    const to = {
      ArrowLeft: [u - KEY_STEP, v],
      ArrowRight: [u + KEY_STEP, v],
      ArrowUp: [u, v + KEY_STEP],
      ArrowDown: [u, v - KEY_STEP],
      Home: [0, v],
      End: [1, v],
    }[event.key];
    if (!to || isShortcut(event)) return;
    event.preventDefault();
    this.moveTo(to);
  }

  moveTo(at) {
    this.tell(at.map((share) => Math.min(1 + BEYOND, Math.max(-BEYOND, share))));
    this.redraw();
  }

  // Moves the pin, and says where it is.
  tell(at) {
    this.at = at;
    const [u, v] = at.map((share) => Math.round(100 * share));
    this.pin.style = position(...at);
    this.plane.setAttribute("aria-valuenow", u);
    this.plane.setAttribute("aria-valuetext", `${u} % from A to B, ${v} % from A to C`);
  }

  async download() {
    await this.drawing;
    const { film, file } = this;
    if (file) download(gif(film.pixels, film.milliseconds), file);
  }
}

// Returns a latent of the plane through three. Bits take all values between.
const mixture = ([a, b, c], [u, v]) => a.map((value, i) => value + u * (b[i] - value) + v * (c[i] - value));

const position = (u, v) => {
  const share = (value) => `${(100 * (value + BEYOND)) / (1 + 2 * BEYOND)}%`;
  return `left: ${share(u)}; bottom: ${share(v)}`;
};
