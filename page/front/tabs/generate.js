// Faces from a model's own prior: the attributes they can be given, and what the bits of a GAN do.

import { fold, randomSeed, toolbar } from "../controls.js";
import { button, download, foreign, h } from "../dom.js";
import { checksum, pngWith } from "../png.js";
import { Tab } from "../tab.js";
import { complaint, readAttributes, said, sample, title, writeAttributes, writeRecipe } from "../values.js";
import { Faces, Film, countOf, difference, faceOf, isStill } from "../views.js";

// The attributes in sight, which an eye can tell; the others are folded.
export const IN_SIGHT = ["Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat", "Male", "Young"];
// The faces by which a bit is shown.
const FACES_WITH_A_BIT = 6;

// The large face lives: its latent goes around a small circle that touches it, of this radius in standard deviations,
// in so many frames. It does so for less than five seconds at a time, as nothing stops it (WCAG 2.2.2).
const [SWAY, FRAMES, TURNS] = [0.35, 16, 3];
const CALM = 500;

export class Generate extends Tab {
  constructor(page, about) {
    super(page, about);
    this.grid = new Faces({
      choose: (index) => this.set({ face: index + 1 }),
      group: "Faces; the chosen one is shown large",
    });
    this.large = new Film("The chosen face");
    this.recipe = h("p", { class: "numbers" });
    const switches = (label) => toolbar({ class: "switches", "aria-label": label });
    [this.best, this.others] = [switches("Give every face"), switches("More attributes")];
    this.more = fold("More attributes", this.others.element, h("p", { class: "note" }, page.about.notes.attributes));
    this.unknown = h("div");
    this.named = h(
      "div",
      { class: "named" },
      h("h3", {}, "Give every face"),
      this.best.element,
      this.more,
      this.unknown,
    );
    this.code = h("pre", { class: "code" });
    this.bits = toolbar({ class: "bits", "aria-label": "Switches without a name" });
    this.effect = ["off", "on", "difference × 3"].map((label) => ({
      label: h("span", {}, label),
      faces: new Faces({ columns: FACES_WITH_A_BIT }),
    }));
    this.moved = h("p", { class: "sentence" });
    this.discrete = fold(
      "Switches without a name",
      h(
        "p",
        { class: "note" },
        "Half of a GAN’s latent is bits, each −1 or +1. Training gave these no name. They are shown as the chosen face has " +
          "them: press one to flip it in all faces, again to hold it as it was, and once more to let it go.",
      ),
      this.bits.element,
      h(
        "div",
        { class: "actions" },
        button("Hold all of the chosen face", () => this.hold()),
        button("Let all go", () => this.set({ bits: "", attributes: "" })),
      ),
      this.field("bit", { class: "wide" }),
      h(
        "div",
        { class: "effect" },
        this.effect.map(({ label, faces }) => [label, faces.element]),
      ),
      this.moved,
    );
    this.discrete.addEventListener("toggle", () => this.discrete.open && this.wish());
    this.knobs = fold(
      "Model, seed, how many",
      h(
        "div",
        { class: "controls" },
        ["model", "seed", "faces", "temperature"].map((name) => this.field(name)),
      ),
    );
    this.element.append(
      h(
        "div",
        { class: "meet" },
        h(
          "div",
          { class: "chosen" },
          h(
            "div",
            { class: "hero-face" },
            h("div", { class: "portrait", onpointerenter: () => this.live(0) }, this.large.canvas),
            h(
              "div",
              { class: "verbs" },
              button("Another", () => this.another(), { class: "primary", title: "or press the space bar" }),
              this.recipe,
            ),
          ),
          h(
            "div",
            { class: "actions" },
            button("Morph from this", () => this.send("a")),
            button("Morph to this", () => this.send("b")),
            button("Save picture", () => this.download()),
            page.copyButton(this),
          ),
        ),
        h("div", { class: "crowd" }, this.grid.element),
        this.named,
      ),
      this.knobs,
      this.discrete,
      fold("The same faces in Python", this.code),
    );
    document.addEventListener("keydown", (event) => this.press(event));
  }

  get chosen() {
    const { seed, faces, face, temperature, bits, attributes } = this.settings;
    const held = this.model.discreteSize ? bits : "";
    const wishes = this.model.best.length ? attributes : "";
    return { seed, face: Math.min(face, faces), temperature, bits: held, attributes: wishes };
  }

  another() {
    this.set({ seed: randomSeed() });
  }

  // The space bar is for whatever has the focus; the grid of faces has no use for it.
  press(event) {
    const isTheirs = event.target.closest?.("button, summary, select, a, input:not(.crowd input)");
    if (event.key !== " " || isTheirs || this.element.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.another();
  }

  send(end) {
    this.page.go("interpolate", { model: this.settings.model, [end]: writeRecipe(this.chosen) });
  }

  vet({ model: name, bits }) {
    const { discreteSize } = this.page.models.get(name);
    if (!bits || !discreteSize || new RegExp(`^[-+.]{${discreteSize}}$`).test(bits)) return {};
    return {
      bits: `The link's bits cannot be ${said(bits)}: write +, - or . for each of the ${discreteSize}, or nothing.`,
    };
  }

  unfold() {
    const { model, settings } = this;
    this.knobs.open = ["model", "faces", "temperature"].some((name) => {
      const { value, first } = this.controls.find((control) => control.name === name);
      return settings[name] !== value && settings[name] !== (first ?? value);
    });
    // The reports' GAN has no others.
    this.discrete.open = !model.best.length || /[+-]/.test(settings.bits);
    this.more.open = this.namedIn(settings.attributes).some((name) => !this.inSight.includes(name));
  }

  set(values) {
    super.set(values);
    if ("model" in values) this.discrete.open = !this.model.best.length;
  }

  namedIn(attributes) {
    return Object.keys(readAttributes(attributes, this.model, this.most).values);
  }

  get most() {
    return this.model.discreteSize ? 1 : this.page.about.constants.most_attribute;
  }

  get inSight() {
    const { best } = this.model;
    const known = IN_SIGHT.filter((name) => best.includes(name));
    return known.length ? known : best.slice(0, IN_SIGHT.length);
  }

  async draw() {
    const { model, settings } = this;
    const { values, unknown } = readAttributes(settings.attributes, model, this.most);
    const { seed, faces, temperature, bits } = settings;
    const key = JSON.stringify([model.name, seed, faces, temperature, bits, values]);
    const isNew = key !== this.key;
    if (isNew) {
      const pixels = (await this.first("faces", ["face", "bit"])) ?? (await this.decodeAll(values));
      if (!pixels) return;
      this.came = pixels === (await this.page.first("faces"));
      this.key = key;
      const names = Array.from({ length: faces }, (_, i) => `Face ${i + 1} of ${faces}, ${model.name}`);
      this.grid.element.style.setProperty("--columns", Math.min(8, Math.ceil(Math.sqrt(faces))));
      this.grid.show(pixels, names);
    }
    this.showChosen();
    this.showAttributes(values, unknown);
    this.code.textContent = inCode(model, settings, values);
    this.discrete.hidden = !model.discreteSize;
    if (model.discreteSize && this.discrete.open) {
      this.z = await this.latents(values);
      this.showBits();
      if (!this.again) await this.showEffect(); // Who moves a slider waits for the faces only.
    }
  }

  async latents(values) {
    await this.model.ready();
    return sample(this.model, { ...this.settings, attributes: writeAttributes(values) }, this.settings.faces);
  }

  async decodeAll(values) {
    const { model } = this;
    return this.decode(model, await this.latents(values));
  }

  showChosen() {
    const { model, settings, chosen } = this;
    this.grid.chosen = chosen.face - 1;
    const { pixels } = this.large;
    const face = faceOf(this.grid.pixels, chosen.face - 1);
    if (!pixels || face.some((value, i) => value !== pixels[i])) {
      this.large.stop();
      this.large.show(face);
      this.live(CALM);
    }
    this.recipe.textContent = `${model.name}, face ${chosen.face} of seed ${settings.seed}`;
  }

  // Let the large face live, after a moment in which nothing else is asked for.
  live(after) {
    clearTimeout(this.waking);
    if (isStill()) return;
    this.waking = setTimeout(async () => {
      const { model, chosen, large } = this;
      const still = large.pixels;
      if (!still || this.drawing || large.isPlaying) return;
      if (countOf(still) === 1) {
        const came = this.came ? await this.first("living", ["bit"]) : null;
        const film = came ?? (await this.sway(model, chosen).catch(() => null));
        // The face may be another by now.
        if (!film || large.pixels !== still || this.element.hidden) return;
        film.set(still); // The first is the very one that was shown.
        large.show(film);
      }
      large.play(FRAMES * TURNS);
    }, after);
  }

  async sway(model, chosen) {
    await model.ready();
    const z = sample(model, chosen, chosen.face).slice(-model.latentSize);
    const [across, along] = [0, 1].map((i) => model.sample(1, 2).subarray(i * z.length, (i + 1) * z.length));
    const frames = new Float32Array(FRAMES * z.length);
    for (let frame = 0; frame < FRAMES; frame++) {
      const angle = (2 * Math.PI * frame) / FRAMES;
      frames.set(z, frame * z.length);
      for (let i = 0; i < model.continuousSize; i++) {
        frames[frame * z.length + i] +=
          SWAY *
          (Math.sin(angle) * (across[i] - model.priorMean) + (1 - Math.cos(angle)) * (along[i] - model.priorMean));
      }
    }
    return this.decode(model, frames, this.large);
  }

  showAttributes(values, unknown) {
    const { model, settings, inSight } = this;
    this.named.hidden = !model.best.length;
    const held = (name) => {
      const at = model.discreteSize ? settings.bits.charAt(model.attributes.indexOf(name)) : "";
      return { "+": 1, "-": -1 }[at];
    };
    const pills = (names) => names.map((name) => this.attribute(name, values[name] ?? held(name)));
    const others = model.best.filter((name) => !inSight.includes(name));
    this.best.show(...pills(inSight));
    this.others.show(...pills(others));
    this.more.hidden = !others.length;
    this.more.querySelector("summary").textContent = `More attributes (${others.length})`;
    const told = unknown.slice(0, 5).join(", ").slice(0, 200);
    this.unknown.replaceChildren(unknown.length ? complaint(`The ${model.said} knows no ${told}.`) : "");
  }

  // A switch with three places: without, as drawn, with.
  attribute(name, value) {
    const side = (sign, label) => {
      const pressed = value === sign;
      const press = () => this.wishFor(name, pressed ? undefined : sign);
      const spoken = `${title(name)}: ${sign > 0 ? "with" : "without"}`;
      return button(label, press, {
        "aria-pressed": `${pressed}`,
        "aria-label": spoken,
        "data-key": `${sign} ${name}`,
      });
    };
    const between = value !== undefined && Math.abs(value) !== 1 ? `${title(name)} ${value}` : title(name);
    return h("div", { class: "attribute" }, side(-1, "−"), foreign(between), side(1, "+"));
  }

  wishFor(name, value) {
    // What is wished for now, which may not be drawn yet.
    const { values } = readAttributes(this.settings.attributes, this.model, this.most);
    const wished = { ...values, [name]: value };
    if (value === undefined) delete wished[name];
    const at = this.model.discreteSize ? this.model.attributes.indexOf(name) : -1;
    const bits = this.settings.bits && at >= 0 ? this.held(at, ".") : this.settings.bits;
    this.set({ attributes: writeAttributes(wished), bits, ...(at >= 0 && { bit: at + 1 }) });
  }

  // The held bits with one of them changed; none held is an empty line.
  held(index, to) {
    const bits = [...(this.settings.bits || ".".repeat(this.model.discreteSize))];
    bits[index] = to;
    return bits.some((bit) => bit !== ".") ? bits.join("") : "";
  }

  async hold() {
    await this.drawing;
    this.set({ bits: this.bitsOfChosen() });
  }

  bitsOfChosen() {
    const { latentSize, continuousSize } = this.model;
    const z = this.z.subarray((this.chosen.face - 1) * latentSize, this.chosen.face * latentSize);
    return Array.from(z.subarray(continuousSize), (bit) => (bit > 0 ? "+" : "-")).join("");
  }

  showBits() {
    const buttons = [...this.bitsOfChosen()].map((sign, index) => {
      const held = (this.settings.bits[index] ?? ".") !== ".";
      const press = () => {
        // Held as it is drawn comes after held the other way.
        const drawn = this.drawnBit(index);
        const next = !held ? (sign === "+" ? "-" : "+") : sign === drawn ? "." : drawn;
        this.set({ bits: this.held(index, next), bit: index + 1 });
      };
      return button(`${index + 1}`, press, {
        "data-key": index + 1,
        class: held ? "held" : null,
        "aria-pressed": `${sign === "+"}`,
        "aria-label": `Bit ${index + 1}: ${sign === "+" ? "+1" : "−1"}${held ? ", held" : ""}`,
      });
    });
    this.bits.show(...buttons.slice(this.model.attributes.length));
  }

  drawnBit(index) {
    const { latentSize, continuousSize } = this.model;
    const z = sample(this.model, { ...this.chosen, bits: "", attributes: "" }, this.chosen.face);
    return z[(this.chosen.face - 1) * latentSize + continuousSize + index] > 0 ? "+" : "-";
  }

  async showEffect() {
    const { model, settings } = this;
    const index = Math.min(settings.bit, model.discreteSize) - 1;
    const count = Math.min(settings.faces, FACES_WITH_A_BIT);
    const z = new Float32Array(2 * count * model.latentSize);
    for (const half of [0, 1]) {
      z.set(this.z.subarray(0, count * model.latentSize), half * count * model.latentSize);
      for (let i = 0; i < count; i++) {
        z[(half * count + i) * model.latentSize + model.continuousSize + index] = half ? 1 : -1;
      }
    }
    const both = await this.decode(model, z, this.effect);
    if (!both) return;
    const [off, on] = [both.subarray(0, both.length / 2), both.subarray(both.length / 2)];
    const change = difference(on, off, 3);
    const name = index < model.attributes.length ? title(model.attributes[index]) : "";
    const labels = name ? [`${name}: off`, `${name}: on`] : ["at −1", "at +1"];
    [off, on, change.pixels].forEach((pixels, row) => {
      const { label, faces } = this.effect[row];
      label.textContent = labels[row] ?? "difference × 3";
      faces.show(
        pixels,
        Array.from({ length: count }, (_, i) => `Face ${i + 1}, bit ${index + 1} ${label.textContent}`),
      );
    });
    this.moved.textContent = `Bit ${index + 1}${name && `, ${name},`} changes a pixel by ${change.mean.toFixed(1)} grey levels.`;
  }

  // The face that is on screen; one that came along is slightly compressed, and is drawn for this.
  async download() {
    const { model, chosen, came } = this;
    const shown = faceOf(this.grid.pixels, chosen.face - 1).slice();
    let face = shown;
    if (came) {
      await model.ready();
      const z = sample(model, chosen, chosen.face).slice(-model.latentSize);
      face = (await this.decode(model, z, this.recipe).catch(() => null)) ?? shown;
    }
    const recipe = writeRecipe(chosen);
    const { model_key, recipe_key } = this.page.about.constants;
    const text = { Software: "Latent Faces", [model_key]: model.name, [recipe_key]: recipe };
    const smooth = !this.page.element.classList.contains("pixelated");
    download(await pngWith(face, text, { smooth }), fileName(model, chosen, recipe));
  }
}

// A name of its own for each face: what can be read of its recipe and, where there is more to it, a checksum of it.
function fileName(model, { seed, face }, recipe) {
  const simple = `${model.about.folder}-${seed}-${face}`;
  if (recipe === `${seed}/${face}`) return `${simple}.png`;
  const sum = (checksum(new TextEncoder().encode(recipe)) >>> 0).toString(16).padStart(8, "0");
  return `${simple}-${sum}.png`;
}

// How another program draws these faces.
function inCode(model, { seed, faces, temperature }, values) {
  const wishes = Object.entries(values).map(([name, value]) => {
    const shown = { 1: "True", "-1": "False" }[value] ?? value;
    return `${JSON.stringify(name)}: ${shown}`;
  });
  const variance =
    temperature === 1 ? "" : `, variance=${Number((model.priorVariance * temperature ** 2).toPrecision(6))}`;
  const attributes = wishes.length ? `, attributes={${wishes.join(", ")}}` : "";
  return `model.generate(${faces}, seed=${seed}${variance}${attributes})`;
}
