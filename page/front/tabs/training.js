// The same latents after every epoch, as training left them, and the losses on the way.

import { button, foreign, h } from "../dom.js";
import { Tab } from "../tab.js";
import { Chart, Faces, SIDE, join } from "../views.js";

const FACES = 16;
const PER_SECOND = 5;

export class Training extends Tab {
  constructor(page, about) {
    super(page, about);
    this.faces = new Faces();
    this.sentence = h("p", { class: "sentence", "aria-live": "polite" });
    this.chart = h("div", { class: "training" });
    this.sheets = new Map();
    this.button = button("Play", () => this.play());
    this.element.append(
      h(
        "p",
        { class: "note" },
        "The same latents after every epoch, as training left them, and the losses on the way.",
      ),
      h("div", { class: "controls" }, this.field("model"), this.field("epoch", { class: "wide" }), this.button),
      this.sentence,
      this.faces.element,
      this.chart,
    );
  }

  async draw() {
    const { name, about } = this.model;
    const { history } = about;
    for (const part of [this.faces.element, this.chart, this.button]) part.hidden = !history;
    if (!history) throw new Error(about.history_problem);
    const epoch = Math.min(this.settings.epoch, history.epochs);
    this.fields.epoch.input.max = history.epochs;
    this.fields.epoch.value = epoch;
    const sheet = await this.sheet(history.sheet);
    const row = Math.max(
      0,
      history.shown.findLastIndex((shown) => shown <= epoch),
    );
    const faces = Array.from({ length: FACES }, (_, i) => sheet.getImageData(i * SIDE, row * SIDE, SIDE, SIDE).data);
    this.faces.show(
      join(faces),
      faces.map((_, i) => `Latent ${i + 1} of the ${name} after epoch ${epoch}`),
    );
    this.sentence.replaceChildren(`After epoch ${epoch} of ${history.epochs}. `, foreign(history.note ?? ""));
    if (this.drawn !== history) this.chart.replaceChildren(...this.curves(history));
    this.drawn = history;
    this.curve.at = epoch / history.epochs;
  }

  async sheet(url) {
    if (!this.sheets.has(url)) {
      const answer = await fetch(new URL(url, this.page.base)).catch(() => null);
      const image = answer?.ok && (await createImageBitmap(await answer.blob()).catch(() => null));
      if (!image) throw new Error("The faces of this training cannot be had. Try again in a while.");
      const drawn = h("canvas", { width: image.width, height: image.height });
      const context = drawn.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      this.sheets.set(url, context);
    }
    return this.sheets.get(url);
  }

  curves({ losses, epochs }) {
    const names = Object.keys(losses)
      .filter((name) => name !== "step")
      .slice(0, 2);
    const colours = ["blue", "red"].slice(0, names.length);
    const numbers = names
      .flatMap((name) => losses[name])
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    const most = numbers[Math.floor(0.99 * (numbers.length - 1))]; // The first steps reach far beyond all others.
    const last = losses.step.at(-1);
    const clip = (value) => Math.min(1, Math.max(0, value));
    const lines = names.map((name) =>
      losses[name].flatMap((value, i) => (value === null ? [] : [[losses.step[i] / last, clip(value / most)]])),
    );
    const marks = [...new Set([1, ...Array.from({ length: epochs / 10 }, (_, i) => 10 * (i + 1)), epochs])];
    this.curve = new Chart({
      spoken: `Losses from epoch 1 to ${epochs}; a line marks the epoch that is shown`,
      lines: Object.fromEntries(lines.map((line, i) => [colours[i], line])),
      ticks: marks.map((epoch) => [epoch / epochs, `${epoch}`]),
    });
    const keys = names.map((name, i) =>
      h("span", { class: `key ${colours[i]}` }, foreign(name.replace(/_loss$/, "").replaceAll("_", " "))),
    );
    const told = keys.flatMap((key, i) => (i ? [" and ", key] : [key]));
    return [h("p", { class: "note" }, "Losses: ", told, ", against the epochs."), this.curve.element];
  }

  play() {
    clearInterval(this.timer);
    const playing = (this.playing = !this.playing);
    this.button.textContent = playing ? "Pause" : "Play";
    if (!playing) return;
    const { epochs } = this.model.about.history;
    if (this.settings.epoch >= epochs) this.set({ epoch: 1 });
    this.timer = setInterval(() => {
      if (this.settings.epoch >= epochs || !this.element.offsetParent) this.play();
      else this.set({ epoch: this.settings.epoch + 1 });
    }, 1000 / PER_SECOND);
  }
}
