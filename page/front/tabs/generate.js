// Generate: faces from a model's prior, their attributes, and what the bits of a GAN do.

import { fold, randomSeed, toolbar } from "../controls.js";
import { button, download, foreign, h } from "../dom.js";
import { checksum, pngWith } from "../png.js";
import { Tab } from "../tab.js";
import {
  attributesProblem,
  checkFits,
  complaint,
  latentOf,
  readAttributes,
  sample,
  title,
  writeAttributes,
  writeRecipe,
} from "../values.js";
import { Faces, Film, countOf, difference, faceOf, isStill, join } from "../views.js";

// These attributes are always in sight; the others are folded.
export const IN_SIGHT = ["Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat", "Male", "Young"];
// A bit's effect is shown on so many faces, its difference enlarged so many times.
const [FACES_WITH_A_BIT, GAIN] = [6, 3];

// The large face moves: its latent goes around a circle of this radius, in standard deviations, in so many frames.
// Motion that cannot be stopped must end within five seconds (WCAG 2.2.2).
const [SWAY, FRAMES, TURNS] = [0.35, 16, 3];
const CALM = 500;

const PREFIX = "direction.";

export default class Generate extends Tab {
  constructor(page, about) {
    super(page, about);
    this.grid = new Faces({
      choose: (index) => this.set({ face: index + 1 }),
      group: "Faces; the chosen one is shown large",
    });
    this.large = new Film("The chosen face", page.about.constants.frame_milliseconds);
    this.recipe = h("p.numbers");
    this.switches = toolbar({ class: "switches", "aria-label": "Give every face" });
    this.others = toolbar({ class: "switches", "aria-label": "More attributes" });
    this.more = fold("", this.others.element, h("p.note", page.about.notes.attributes));
    this.unknown = h("div");
    this.named = h("div", [h("h3", "Give every face"), this.switches.element, this.more, this.unknown]);
    this.code = h("pre.code");
    const knobs = ["model", "seed", "faces", "temperature"].map((name) => this.field(name));
    this.knobs = fold("Model, seed, how many", h("div.controls", knobs));
    this.directions = this.foldOfDirections();
    this.discrete = this.foldOfBits();
    this.morphs = [button("Morph from this", () => this.send("a")), button("Morph to this", () => this.send("b"))];
    this.element.append(
      h("div.meet", [
        h("div.chosen", [
          h("div.hero-face", [
            h("div.portrait", { onpointerenter: () => this.live(0) }, this.large.canvas),
            h("div.verbs", [
              button("Another", () => this.another(), { class: "primary", title: "or press the space bar" }),
              this.recipe,
            ]),
          ]),
          h("div.actions", [this.morphs, button("Save picture", () => this.download()), page.copyButton(this)]),
        ]),
        h("div.crowd", this.grid.element),
        h("div.named", [this.named, this.directions]),
      ]),
      this.knobs,
      this.discrete,
      fold("The same faces in Python", this.code),
    );
    document.addEventListener("keydown", (event) => this.press(event));
  }

  foldOfDirections() {
    this.moves = this.controls.filter(({ name }) => name.startsWith(PREFIX));
    this.sliders = h("div.directions");
    const note =
      "Along these directions of the latent, the network’s first layer changes most. They were computed, not taught. " +
      "Those with a clear effect have a name. 1 is a standard deviation.";
    const reset = () => this.set(this.unmoved);
    return fold("Move the chosen face", h("p.note", note), this.sliders, h("div.actions", button("Reset", reset)));
  }

  foldOfBits() {
    this.bits = toolbar({ class: "bits", "aria-label": "Switches without a name" });
    this.effect = Array.from({ length: 3 }, () => ({
      label: h("span"),
      faces: new Faces({ columns: FACES_WITH_A_BIT }),
    }));
    const rows = this.effect.map(({ label, faces }) => [label, faces.element]);
    this.change = h("p.sentence");
    const note =
      "Half of a GAN’s latent is bits, each −1 or +1. These have no names. The buttons show those of the chosen face. " +
      "Press one to flip it in all faces, again to hold it unflipped, and a third time to release it.";
    const element = fold(
      "Switches without a name",
      h("p.note", note),
      this.bits.element,
      h("div.actions", [
        button("Hold all of the chosen face", () => this.hold()),
        button("Release all", () => this.set({ bits: "" })),
      ]),
      this.field("bit", { class: "wide" }),
      h("div.effect", rows),
      this.change,
    );
    element.addEventListener("toggle", () => element.open && this.redraw());
    return element;
  }

  // The recipe of the chosen face.
  get chosen() {
    const { seed, faces, face, temperature, bits, attributes } = this.settings;
    const { discreteSize } = this.model;
    return {
      seed,
      face: Math.min(face, faces),
      temperature,
      bits: discreteSize ? bits : "",
      attributes: writeAttributes(readAttributes(attributes, this.model).values), // Without unknown ones of a link.
    };
  }

  // How far the chosen face is moved along each main direction.
  get along() {
    return this.moves.map(({ name }) => this.settings[name]);
  }

  get isMoved() {
    return this.along.some((by) => by !== 0);
  }

  get unmoved() {
    return Object.fromEntries(this.moves.map(({ name }) => [name, 0]));
  }

  // Returns the latent of the chosen face, moved along the main directions.
  async latent() {
    const { model, chosen, along } = this;
    const z = await latentOf(model, chosen);
    const directions = model.about.main_directions;
    return z.map((value, i) => directions.reduce((sum, direction, n) => sum + along[n] * direction[i], value));
  }

  another() {
    this.set({ seed: randomSeed() });
  }

  // The space bar belongs to the element with the focus, unless that is the grid of faces.
  press(event) {
    const { target } = event;
    const isOutside = target !== document.body && !this.page.element.contains(target);
    const isTheirs = isOutside || target.closest("button, summary, select, a, input:not(.crowd input)");
    if (event.key !== " " || isTheirs || this.element.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.another();
  }

  send(end) {
    this.page.open("interpolate", { values: { model: this.settings.model, [end]: writeRecipe(this.chosen) } });
  }

  vet(name, { model, bits }) {
    if (name === "bits") checkFits(this.page.models.get(model), { bits });
  }

  unfold() {
    const { model, settings } = this;
    this.directions.open = this.isMoved;
    this.knobs.open = ["model", "faces", "temperature"].some((name) => {
      const { value, first } = this.control(name);
      return settings[name] !== value && settings[name] !== (first ?? value);
    });
    this.discrete.open = !model.best.length || /[+-]/.test(settings.bits);
    const { values } = readAttributes(settings.attributes, model);
    this.more.open = Object.keys(values).some((name) => !this.inSight.includes(name));
  }

  set(values) {
    super.set("model" in values ? { ...this.unmoved, ...values } : values); // Another model has other directions.
    if ("model" in values) this.discrete.open = !this.model.best.length;
  }

  get inSight() {
    const { best } = this.model;
    const known = IN_SIGHT.filter((name) => best.includes(name));
    return known.length ? known : best.slice(0, IN_SIGHT.length);
  }

  async draw(signal) {
    const { model, settings } = this;
    const { values, unknown } = readAttributes(settings.attributes, model);
    const { seed, faces, temperature, bits } = settings;
    const recipe = { seed, temperature, bits, attributes: writeAttributes(values) };
    const latents = () => sample(model, recipe, faces);
    const key = JSON.stringify([model.name, faces, recipe]);
    if (key !== this.key) {
      const came = await this.first("faces", signal, ["face", "bit", ...this.moves.map(({ name }) => name)]);
      const pixels = came ?? (await this.page.decoder.decode(model, await latents(), signal));
      Object.assign(this, { key, hasCome: came !== null });
      this.grid.columns = Math.min(8, Math.ceil(Math.sqrt(faces)));
      this.grid.show(pixels, (index) => `Face ${index + 1} of ${faces}, ${model.name}`);
    }
    const moved = this.isMoved ? await this.page.decoder.decode(model, await this.latent(), signal) : null;
    this.showChosen(moved);
    this.showDirections();
    this.showAttributes(values, unknown);
    this.code.textContent = inCode(model, settings, values);
    this.discrete.hidden = !model.discreteSize;
    if (model.discreteSize && this.discrete.open) {
      const z = await latents();
      signal.throwIfAborted();
      await this.showBits(z);
      if (!this.isAskedAgain) await this.showEffect(z, signal); // A moved slider waits for the faces only.
    }
  }

  showChosen(moved) {
    const { model, settings, chosen, large } = this;
    this.shown = { model, chosen, isMoved: Boolean(moved) };
    this.grid.chosen = chosen.face - 1;
    const face = moved ?? faceOf(this.grid.pixels, chosen.face - 1);
    if (!large.pixels || face.some((value, i) => value !== large.pixels[i])) {
      large.stop();
      large.show(face);
      this.live(CALM);
    }
    this.recipe.textContent = `${model.name}, face ${chosen.face} of seed ${settings.seed}${moved ? ", moved" : ""}`;
    for (const morph of this.morphs) morph.disabled = Boolean(moved); // A recipe names no moved face.
  }

  // Moves the large face, after a moment without other requests.
  live(after) {
    clearTimeout(this.waking);
    if (isStill()) return;
    this.waking = setTimeout(async () => {
      const { large } = this;
      const still = large.pixels;
      if (!still || this.drawing || large.isPlaying) return;
      if (countOf(still) === 1) {
        const film =
          (this.hasCome && (await this.first("living", null, ["bit"]))) || (await this.sway().catch(() => null));
        // The face may have changed by now.
        if (!film || large.pixels !== still || this.element.hidden) return;
        film.set(still); // The first frame is the face as it was shown.
        large.show(film);
      }
      large.play(FRAMES * TURNS);
    }, after);
  }

  async sway() {
    const { model } = this;
    const z = await this.latent();
    const directions = model.sample(1, 2);
    const [across, along] = [directions.subarray(0, z.length), directions.subarray(z.length)];
    const frames = Array.from({ length: FRAMES }, (_, frame) => {
      const angle = (2 * Math.PI * frame) / FRAMES;
      const [a, b] = [SWAY * Math.sin(angle), SWAY * (1 - Math.cos(angle))];
      const moved = (value, i) => value + a * (across[i] - model.priorMean) + b * (along[i] - model.priorMean);
      return z.map((value, i) => (i < model.continuousSize ? moved(value, i) : value));
    });
    return this.page.decoder.decode(model, join(frames));
  }

  showDirections() {
    const { model, moves } = this;
    if (this.sliders.dataset.model === model.name) return;
    this.sliders.dataset.model = model.name;
    const { directions, main_directions } = model.about;
    const shown = moves.slice(0, main_directions.length);
    this.sliders.replaceChildren(
      ...shown.map(({ name, label }, n) => this.field(name, { label: directions[n] || label })),
    );
  }

  showAttributes(values, unknown) {
    const { model, settings, inSight } = this;
    this.named.hidden = !model.best.length;
    const held = (name) => ({ "+": 1, "-": -1 })[settings.bits.charAt(model.attributes.indexOf(name))];
    const shown = (names) =>
      names.map((name) => this.attribute(name, values[name] ?? (model.discreteSize ? held(name) : undefined)));
    const others = model.best.filter((name) => !inSight.includes(name));
    this.switches.show(...shown(inSight));
    this.others.show(...shown(others));
    this.more.hidden = !others.length;
    this.more.querySelector("summary").textContent = `More attributes (${others.length})`;
    const problem = attributesProblem(model, unknown);
    this.unknown.replaceChildren(problem && complaint(problem));
  }

  // Returns a switch with three positions: without, as drawn, with.
  attribute(name, value) {
    const side = (sign, label) =>
      button(label, () => this.give(name, value === sign ? undefined : sign), {
        "aria-pressed": `${value === sign}`,
        "aria-label": `${title(name)}: ${sign > 0 ? "with" : "without"}`,
        "data-key": `${sign} ${name}`,
      });
    const between = value !== undefined && Math.abs(value) !== 1 ? `${title(name)} ${value}` : title(name);
    return h("div.attribute", [side(-1, "−"), foreign(between), side(1, "+")]);
  }

  // Gives every face an attribute, takes it away, or leaves it as it is drawn.
  give(name, value) {
    const { model, settings } = this;
    const { values } = readAttributes(settings.attributes, model); // Those of now, which may not be drawn yet.
    if (value === undefined) delete values[name];
    else values[name] = value;
    const given = { attributes: writeAttributes(values) };
    if (!model.discreteSize) return this.set(given);
    const index = model.attributes.indexOf(name);
    this.set({ ...given, bit: index + 1, bits: settings.bits && this.held(index, ".") });
  }

  // Returns the line of held bits with one changed; it is empty if none is held.
  held(index, to) {
    const bits = [...(this.settings.bits || ".".repeat(this.model.discreteSize))];
    bits[index] = to;
    return bits.some((bit) => bit !== ".") ? bits.join("") : "";
  }

  async hold() {
    this.set({ bits: this.bitsOf(await latentOf(this.model, this.chosen)) });
  }

  // Returns the bits of the last latent as "+" and "-".
  bitsOf(z) {
    return Array.from(z.slice(-this.model.discreteSize), (bit) => (bit > 0 ? "+" : "-")).join("");
  }

  async showBits(z) {
    const { model, settings, chosen } = this;
    const drawn = this.bitsOf(await latentOf(model, { ...chosen, bits: "", attributes: "" }));
    const signs = this.bitsOf(z.slice(0, chosen.face * model.latentSize));
    const buttons = Array.from(signs, (sign, index) => {
      const isHeld = (settings.bits[index] ?? ".") !== ".";
      // Held the other way, then as it is drawn, then not at all.
      const next = !isHeld ? (sign === "+" ? "-" : "+") : sign === drawn[index] ? "." : drawn[index];
      return button(`${index + 1}`, () => this.set({ bits: this.held(index, next), bit: index + 1 }), {
        "data-key": index + 1,
        class: isHeld ? "held" : null,
        "aria-pressed": `${sign === "+"}`,
        "aria-label": `Bit ${index + 1}: ${sign}1${isHeld ? ", held" : ""}`.replace("-", "−"),
      });
    });
    this.bits.show(...buttons.slice(model.attributes.length));
  }

  async showEffect(z, signal) {
    const { model, settings } = this;
    const index = Math.min(settings.bit, model.discreteSize) - 1;
    const count = Math.min(settings.faces, FACES_WITH_A_BIT);
    const faces = z.slice(0, count * model.latentSize);
    const withBit = (bit) =>
      faces.map((value, i) => (i % model.latentSize === model.continuousSize + index ? bit : value));
    const both = await this.page.decoder.decode(model, join([withBit(-1), withBit(1)]), signal);
    const [off, on] = [both.subarray(0, both.length / 2), both.subarray(both.length / 2)];
    const change = difference(on, off, GAIN);
    const name = index < model.attributes.length ? title(model.attributes[index]) : "";
    const labels = [name ? `${name}: off` : "at −1", name ? `${name}: on` : "at +1", `difference × ${GAIN}`];
    [off, on, change.pixels].forEach((pixels, row) => {
      this.effect[row].label.textContent = labels[row];
      this.effect[row].faces.show(pixels, (face) => `Face ${face + 1}, bit ${index + 1} ${labels[row]}`);
    });
    const bit = `Bit ${index + 1}${name && `, ${name},`}`;
    this.change.textContent = `${bit} changes a pixel by ${change.mean.toFixed(1)} grey levels.`;
  }

  // Saves the face on screen. A face that came with the page is slightly compressed, so it is drawn first. A moved face
  // has no recipe.
  async download() {
    await this.drawing;
    if (!this.shown) return;
    const { large, page, hasCome } = this;
    const { model, chosen, isMoved } = this.shown;
    const shown = faceOf(large.pixels, 0).slice();
    const drawn = async () => page.decoder.decode(model, await latentOf(model, chosen));
    const face = hasCome && !isMoved ? await drawn().catch(() => shown) : shown;
    const recipe = writeRecipe(chosen);
    const { model_key, recipe_key } = page.about.constants;
    const text = { Software: "Latent Faces", ...(!isMoved && { [model_key]: model.name, [recipe_key]: recipe }) };
    const smooth = !page.element.classList.contains("pixelated");
    download(await pngWith(face, text, { smooth }), isMoved ? "moved-face.png" : fileName(model, chosen, recipe));
  }
}

// Returns a file name for a recipe: seed, face and, if there is more, a checksum.
function fileName(model, { seed, face }, recipe) {
  const isSimple = recipe === `${seed}/${face}`;
  const sum = checksum(new TextEncoder().encode(recipe)).toString(16).padStart(8, "0");
  return `${model.about.folder}-${seed}-${face}${isSimple ? "" : `-${sum}`}.png`;
}

// Returns Python code that draws these faces. It ends with an expression, as a notebook shows it.
function inCode(model, { seed, faces, temperature, bits }, values) {
  const attributes = Object.entries(values).map(
    ([name, value]) => `${JSON.stringify(name)}: ${{ 1: "True", "-1": "False" }[value] ?? value}`,
  );
  const given = [faces, `seed=${seed}`];
  if (temperature !== 1) given.push(`variance=${Number((model.priorVariance * temperature ** 2).toPrecision(6))}`);
  const { folder, origin } = model.about;
  const name = origin.startsWith("bundled") ? folder : origin.split(" ")[0];
  const head = [`from latent_faces import load`, "", `model = load("${name}")`];
  const set = attributes.length > 0 && `{${attributes.join(", ")}}`;
  if (!model.discreteSize || !bits) {
    if (set) given.push(`attributes=${set}`);
    return [...head, `model.generate(${given.join(", ")})`].join("\n");
  }
  return [
    "from latent_faces.images import to_pil",
    ...head,
    `z = model.hold_bits(model.sample_latent(${given.join(", ")}), "${bits}")`,
    ...(set ? [`z = model.with_attributes(z, ${set})`] : []),
    "to_pil(model.decode(z))",
  ].join("\n");
}
