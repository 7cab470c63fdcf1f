// The same latents after every epoch, as training left them, and the losses on the way.

import { fold } from "../controls.js";
import { button, foreign, h } from "../dom.js";
import { Tab } from "../tab.js";
import { Chart, FACE_BYTES, Faces, facesOf, isStill } from "../views.js";

const FACES = 16;
const PER_SECOND = 5;

export class Training extends Tab {
  constructor(page, about) {
    super(page, about);
    this.faces = new Faces();
    this.sentence = h("p", { class: "sentence" });
    this.chart = h("div", { class: "training" });
    this.sheets = new Map();
    this.button = button("Play", () => (this.timer ? this.stop() : this.play()), { class: "primary" });
    this.command = h("pre", { class: "code" });
    this.note = h("p", { class: "note" });
    this.how = fold("How it was trained", this.command, this.note);
    this.shown = h(
      "div",
      { class: "learning" },
      h("div", {}, this.sentence, this.faces.element),
      h("div", {}, this.chart, this.how),
    );
    this.element.append(
      h(
        "p",
        { class: "note" },
        "Sixteen latents that stay the same, while the network learns from one epoch to the next.",
      ),
      h(
        "div",
        { class: "controls" },
        this.field("model"),
        this.field("epoch"),
        h("div", { class: "actions" }, this.button, page.copyButton(this)),
      ),
      this.shown,
    );
  }

  // What training left needs no network.
  get models() {
    return [];
  }

  set(values) {
    if ("model" in values) {
      this.stop();
      values = { epoch: 1, ...values };
    }
    super.set(values);
    if ("model" in values) this.play();
  }

  async draw() {
    const { name, about } = this.model;
    const { history } = about;
    for (const part of [this.shown, this.button]) part.hidden = !history;
    if (!history) throw new Error(about.history_problem);
    const epoch = Math.min(this.settings.epoch, history.epochs);
    this.fields.epoch.most = history.epochs;
    this.fields.epoch.value = epoch;
    const sheet = await this.sheet(history.sheet);
    const row = Math.max(
      0,
      history.shown.findLastIndex((shown) => shown <= epoch),
    );
    this.faces.show(
      sheet.subarray(row * FACES * FACE_BYTES, (row + 1) * FACES * FACE_BYTES),
      Array.from({ length: FACES }, (_, i) => `Latent ${i + 1} of the ${name} after epoch ${epoch}`),
    );
    this.sentence.textContent = `After epoch ${epoch} of ${history.epochs}.`;
    if (this.told !== history) {
      this.chart.replaceChildren(...this.curves(history));
      this.command.textContent = history.command ?? "";
      this.note.replaceChildren(foreign(history.note ?? ""));
      this.command.hidden = !history.command;
      this.note.hidden = !history.note;
      this.how.hidden = !history.command && !history.note;
    }
    this.told = history;
    this.curve.at = epoch / history.epochs;
    // Once, for who comes to see the beginning.
    if (!this.isSeen && this.isFirst() && !isStill()) this.play();
    this.isSeen = true;
  }

  // A sheet's faces, a row of them for each epoch that is shown.
  async sheet(url) {
    if (!this.sheets.has(url)) {
      const image = new Image();
      image.src = new URL(url, this.page.base);
      await image.decode().catch(() => {
        throw new Error("The faces of this training cannot be had. Try again in a while.");
      });
      this.sheets.set(url, facesOf(image));
    }
    return this.sheets.get(url);
  }

  // From the epoch that is shown to the model's last, or from the first where the last is shown.
  play() {
    this.stop();
    const { history } = this.model.about;
    if (!history) return;
    if (this.settings.epoch >= history.epochs) this.set({ epoch: 1 });
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.settings.epoch >= history.epochs || !this.element.offsetParent) this.stop();
      else this.set({ epoch: this.settings.epoch + 1 });
    }, 1000 / PER_SECOND);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
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
}
