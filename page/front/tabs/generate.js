// Faces from a model's own prior: the attributes they can be given, and what the bits of a GAN do.

import { button, download, foreign, h } from "../dom.js";
import { pngWith } from "../png.js";
import { Tab } from "../tab.js";
import { complaint, readAttributes, sample, title, writeAttributes, writeRecipe } from "../values.js";
import { Faces, canvas, difference, faceOf, paint } from "../views.js";

// How many attributes are in sight; the others are behind "more". And the faces by which a bit is shown.
const BEST = 12;
const FACES_WITH_A_BIT = 6;

export class Generate extends Tab {
  constructor(page, about) {
    super(page, about);
    this.grid = new Faces({
      choose: (index) => this.set({ face: index + 1 }),
      group: "Faces; the chosen one is shown large",
    });
    this.large = canvas("The chosen face");
    this.recipe = h("p", { class: "numbers" });
    this.named = h("div", { class: "attributes" });
    this.code = h("pre", { class: "code" });
    this.bits = h("div", { class: "bits" });
    this.effect = ["off", "on", "difference × 3"].map((label) => ({
      label: h("span", {}, label),
      faces: new Faces({ columns: FACES_WITH_A_BIT }),
    }));
    this.moved = h("p", { class: "sentence" });
    this.discrete = h(
      "div",
      { class: "panel" },
      h("h3", {}, "The discrete half"),
      h(
        "p",
        { class: "note" },
        "Half of a GAN’s latent is bits. Those without a name are here, as the chosen face has them. Press one to flip " +
          "it in all faces, again to hold it as it was, and once more to let it go.",
      ),
      this.bits,
      h(
        "div",
        { class: "actions" },
        button("Hold all bits of the chosen face", () => this.set({ bits: this.bitsOfChosen() })),
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
    this.element.append(
      h(
        "div",
        { class: "controls" },
        ["model", "seed", "faces", "temperature"].map((name) => this.field(name)),
      ),
      h(
        "div",
        { class: "beside" },
        this.grid.element,
        h(
          "aside",
          { class: "chosen" },
          this.large,
          this.recipe,
          h(
            "div",
            { class: "actions" },
            button("As A of Interpolate", () => page.send("a", this)),
            button("As B", () => page.send("b", this)),
            button("Download (PNG)", () => this.download()),
          ),
        ),
      ),
      this.named,
      this.discrete,
      h("details", { class: "note" }, h("summary", {}, "The same faces in Python"), this.code),
    );
  }

  get chosen() {
    const { seed, faces, face, temperature, bits, attributes } = this.settings;
    const held = this.model.discreteSize ? bits : "";
    const wishes = this.model.best.length ? attributes : "";
    return { seed, face: Math.min(face, faces), temperature, bits: held, attributes: wishes };
  }

  async draw() {
    const { model, settings } = this;
    await model.ready();
    const { values, unknown } = readAttributes(settings.attributes, model, model.discreteSize ? 1 : 3);
    this.z = sample(model, { ...settings, attributes: writeAttributes(values) }, settings.faces);
    const pixels = await this.page.decode(model, this.z);
    const names = Array.from({ length: settings.faces }, (_, i) => `Face ${i + 1} of ${settings.faces}, ${model.name}`);
    this.grid.element.style.setProperty("--columns", settings.faces > 36 ? 8 : 6);
    this.grid.show(pixels, names);
    this.grid.chosen = this.chosen.face - 1;
    paint(this.large, faceOf(pixels, this.chosen.face - 1));
    this.recipe.textContent = `${model.name}, face ${this.chosen.face} of seed ${settings.seed}`;
    this.showAttributes(values, unknown);
    this.code.textContent = inCode(model, settings, values);
    this.discrete.hidden = !model.discreteSize;
    if (model.discreteSize) {
      this.showBits();
      if (!this.again) await this.showEffect(); // Who moves a slider waits for the faces only.
    }
  }

  showAttributes(values, unknown) {
    const { model, settings } = this;
    this.named.hidden = !model.best.length;
    if (!model.best.length) return;
    const open = this.named.querySelector("details")?.open ?? false;
    const held = (name) => {
      const at = model.discreteSize ? settings.bits.charAt(model.attributes.indexOf(name)) : "";
      return { "+": 1, "-": -1 }[at];
    };
    const line = (names) =>
      h(
        "div",
        { class: "switches" },
        names.map((name) => this.attribute(name, values[name] ?? held(name))),
      );
    const [best, others] = [model.best.slice(0, BEST), model.best.slice(BEST)];
    const focused = document.activeElement?.dataset?.wish;
    this.named.replaceChildren(
      h("h3", {}, "What all faces are to have"),
      line(best),
      others.length ? h("details", { open }, h("summary", {}, `More (${others.length})`), line(others)) : "",
      h("p", { class: "note" }, this.page.about.notes.attributes),
      unknown.length ? complaint(`The ${model.said} knows no ${unknown.slice(0, 5).join(", ").slice(0, 200)}.`) : "",
    );
    if (focused) [...this.named.querySelectorAll("button")].find((b) => b.dataset.wish === focused)?.focus();
  }

  // A switch with three places: without, as drawn, with.
  attribute(name, value) {
    const side = (sign, label) => {
      const pressed = value === sign;
      const press = () => this.wishFor(name, pressed ? undefined : sign);
      const spoken = `${title(name)}: ${sign > 0 ? "with" : "without"}`;
      const about = {
        "aria-pressed": `${pressed}`,
        "aria-label": spoken,
        "data-wish": `${sign} ${name}`,
      };
      return button(label, press, about);
    };
    const between = value !== undefined && Math.abs(value) !== 1 ? `${title(name)} ${value}` : title(name);
    return h("div", { class: "attribute" }, side(-1, "−"), foreign(between), side(1, "+"));
  }

  wishFor(name, value) {
    // What is wished for now, which may not be drawn yet.
    const { values } = readAttributes(this.settings.attributes, this.model, this.model.discreteSize ? 1 : 3);
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

  bitsOfChosen() {
    const { latentSize, continuousSize } = this.model;
    const z = this.z.subarray((this.chosen.face - 1) * latentSize, this.chosen.face * latentSize);
    return Array.from(z.subarray(continuousSize), (bit) => (bit > 0 ? "+" : "-")).join("");
  }

  showBits() {
    const { model } = this;
    const now = this.bitsOfChosen();
    const focused = document.activeElement?.dataset?.bit;
    const buttons = [...now].map((sign, index) => {
      const held = (this.settings.bits[index] ?? ".") !== ".";
      const press = () => {
        // Held as it is drawn comes after held the other way.
        const drawn = this.drawnBit(index);
        const next = !held ? (sign === "+" ? "-" : "+") : sign === drawn ? "." : drawn;
        this.set({ bits: this.held(index, next), bit: index + 1 });
      };
      const about = {
        "data-bit": index + 1,
        class: held ? "held" : null,
        "aria-pressed": `${sign === "+"}`,
        "aria-label": `Bit ${index + 1}: ${sign === "+" ? "+1" : "−1"}${held ? ", held" : ""}`,
      };
      return button(`${index + 1}`, press, about);
    });
    this.bits.replaceChildren(...buttons.slice(model.discreteSize ? namedBits(model) : 0));
    if (focused) this.bits.querySelector(`[data-bit="${focused}"]`)?.focus();
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
    const at = (value) => {
      const z = this.z.slice(0, count * model.latentSize);
      for (let i = 0; i < count; i++) z[i * model.latentSize + model.continuousSize + index] = value;
      return this.page.decode(model, z);
    };
    const [off, on] = await Promise.all([at(-1), at(1)]);
    const change = difference(on, off, 3);
    const name = index < namedBits(model) ? title(model.attributes[index]) : "";
    const labels = name ? [`${name}: off`, `${name}: on`] : ["at −1", "at +1"];
    [off, on, change.pixels].forEach((pixels, row) => {
      const { label, faces } = this.effect[row];
      label.textContent = labels[row] ?? "difference × 3";
      faces.show(
        pixels,
        Array.from({ length: count }, (_, i) => `Face ${i + 1}, bit ${index + 1} ${label.textContent}`),
      );
    });
    this.moved.textContent = `Bit ${index + 1}${name && `, ${name},`} moves a pixel by ${change.mean.toFixed(1)} grey levels.`;
  }

  async download() {
    await this.drawing;
    const { model, chosen } = this;
    const text = {
      Software: "Latent Faces",
      "latent-faces model": model.name,
      "latent-faces recipe": writeRecipe(chosen),
    };
    const content = await pngWith(faceOf(this.grid.pixels, chosen.face - 1), text);
    download(content, `${model.name} ${chosen.seed}.png`);
  }
}

const namedBits = (model) => (model.discreteSize ? model.attributes.length : 0);

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
