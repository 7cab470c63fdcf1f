// A photograph as the networks see it, each autoencoder's version of it, and the same face with other attributes.

import { button, foreign, h } from "../dom.js";
import { encode, photograph } from "../photograph.js";
import { Tab } from "../tab.js";
import { Faces, difference, join, psnr } from "../views.js";

const BEST = 12;
const GAIN = 2;

export class Reconstruct extends Tab {
  constructor(page, about) {
    super(page, about);
    this.upload = photograph(page, "A face: choose a file, drop or paste one here, or take one of these", (found) => {
      this.found = found;
      this.wish();
    });
    this.note = h("p", { class: "sentence", "aria-live": "polite" });
    this.seen = new Faces({ columns: 2 });
    this.versions = new Faces({ columns: 2 });
    const sliders = this.controls.filter(({ kind }) => kind === "number");
    const fields = (some) =>
      h(
        "div",
        { class: "directions" },
        some.map(({ name, label }) => this.field(name, { label: foreign(label) })),
      );
    const back = () => this.set(Object.fromEntries(sliders.map(({ name }) => [name, 0])));
    const others = sliders.slice(BEST);
    this.element.append(
      h(
        "div",
        { class: "beside" },
        h(
          "div",
          {},
          this.upload.element,
          this.note,
          h("div", { class: "moved" }, this.seen.element),
          sliders.length > 0 && [
            h("h3", {}, "The same face with other attributes"),
            fields(sliders.slice(0, BEST)),
            others.length > 0 && h("details", {}, h("summary", {}, `More (${others.length})`), fields(others)),
            h("div", { class: "actions" }, button("All back to the photograph’s own", back)),
            h(
              "p",
              { class: "note" },
              `1 is by what drawn faces that have an attribute differ from those that do not. ${page.about.notes.attributes}`,
            ),
          ],
        ),
        h("aside", {}, h("h3", {}, "Reconstructions"), this.versions.element),
      ),
    );
  }

  async draw() {
    this.note.textContent =
      this.found?.note ?? "Upload a face, or take one with the camera. Until then, one that the GAN drew:";
    if (!this.found) this.example ??= await encode(this.page, { example: this.page.about.examples[0].name });
    const { seen, latents } = this.found ?? this.example;
    const moves = Object.fromEntries(
      Object.entries(this.settings)
        .filter(([name, value]) => name.startsWith("attribute.") && value)
        .map(([name, value]) => [name.slice("attribute.".length), value]),
    );
    const models = Object.keys(latents).map((name) => this.page.models.get(name));
    const moving = models.filter((model) => model.best.length);
    const [moved, versions] = await Promise.all([
      Promise.all(moving.map((model) => this.moved(model, latents[model.name], moves))),
      Promise.all(models.map((model) => this.page.decode(model, latents[model.name]))),
    ]);
    const captions = ["What the networks see", ...moving.map(({ name }) => `${name}, moved`)];
    this.seen.show(join([seen, ...moved]), captions, captions);
    const told = models.flatMap(({ name, said }, i) => [
      [`Reconstruction by the ${said}`, `${name}: ${psnr(versions[i], seen).toFixed(1)} dB`],
      [`Where the ${said} differs`, `difference × ${GAIN}`],
    ]);
    this.versions.show(
      join(versions.flatMap((pixels) => [pixels, difference(pixels, seen, GAIN).pixels])),
      told.map(([name]) => name),
      told.map(([, caption]) => caption),
    );
  }

  async moved(model, z, moves) {
    await model.ready();
    const known = Object.entries(moves).filter(([name]) => model.best.includes(name));
    return this.page.decode(model, model.withAttributes(z, Object.fromEntries(known)));
  }
}
