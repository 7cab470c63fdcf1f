// Training: faces of the same latents after each epoch, and the losses.

import { fold } from "../controls.js";
import { button, foreign, h } from "../dom.js";
import { write } from "../links.js";
import { Tab } from "../tab.js";
import { Chart, Faces, facesAt, facesOf, isStill } from "../views.js";

const FACES = 16;
const PER_SECOND = 5;

export default class Training extends Tab {
  constructor(page, about) {
    super(page, about);
    this.faces = new Faces();
    this.sentence = h("p.sentence");
    this.chart = h("div.training");
    this.button = button("Play", () => (this.timer ? this.stop() : this.play()), { class: "primary" });
    this.told = h("div");
    this.how = fold("How it was trained", this.told);
    this.shown = h("div.learning", [h("div", [this.sentence, this.faces.element]), h("div", [this.chart, this.how])]);
    const note = "Sixteen latents that stay the same, while the network learns from one epoch to the next.";
    this.element.append(
      h("p.note", note),
      h("div.controls", [
        this.field("model"),
        this.field("epoch"),
        h("div.actions", [this.button, page.copyButton(this)]),
      ]),
      this.shown,
    );
  }

  // The faces are files, so this tab needs no network.
  get models() {
    return [];
  }

  set(values) {
    this.stop();
    super.set("model" in values ? { epoch: 1, ...values } : values);
    if ("model" in values && !isStill()) this.play();
  }

  // Shows an epoch that the visitor did not choose, so complaints about the link stay.
  showEpoch(epoch) {
    this.take({ epoch });
    write(this, this.page.tabs);
    this.redraw();
  }

  async draw() {
    const { name, about } = this.model;
    const { history } = about;
    for (const part of [this.shown, this.button]) part.hidden = !history;
    if (!history) throw new Error(about.history_problem);
    const epoch = Math.min(this.settings.epoch, history.epochs);
    this.fields.epoch.limit(history.epochs);
    this.fields.epoch.show(epoch);
    // The sheet has a row of faces for each shown epoch.
    const sheet = await facesAt(new URL(history.sheet, this.page.base)).catch(() => {
      throw new Error("The faces of this training cannot be loaded. Try again in a while.");
    });
    const row = history.shown.findLastIndex((shown) => shown <= epoch);
    const nameOf = (index) => `Latent ${index + 1} of the ${name} after epoch ${epoch}`;
    this.faces.show(facesOf(sheet, row * FACES, FACES), nameOf);
    this.sentence.textContent = `After epoch ${epoch} of ${history.epochs}.`;
    if (this.history !== history) this.tell(history);
    this.curve.at = epoch / history.epochs;
    // It plays once by itself.
    if (!this.isSeen && this.isFirst() && !isStill()) this.play();
    this.isSeen = true;
  }

  // Shows how a model was trained.
  tell(history) {
    this.history = history;
    const { command, note } = history;
    this.chart.replaceChildren(...this.curves(history));
    this.told.replaceChildren(h("div", command && h("pre.code", command), note && h("p.note", foreign(note))));
    this.how.hidden = !command && !note;
  }

  // Plays from the shown epoch to the last, or from the first if the last is shown.
  play() {
    this.stop();
    const { history } = this.model.about;
    if (!history) return;
    if (this.settings.epoch >= history.epochs) this.showEpoch(1);
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.settings.epoch >= history.epochs || !this.element.offsetParent) this.stop();
      else this.showEpoch(this.settings.epoch + 1);
    }, 1000 / PER_SECOND);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }

  // Makes the chart of two losses, and its key.
  curves({ losses, epochs }) {
    const { step: steps, ...columns } = losses;
    const [names, colours] = [Object.keys(columns).slice(0, 2), ["blue", "red"]];
    const numbers = names.flatMap((name) => losses[name].filter(Number.isFinite)).sort((a, b) => a - b);
    const most = numbers[Math.floor(0.99 * (numbers.length - 1))]; // The first steps reach far beyond all others.
    const clip = (value) => Math.min(1, Math.max(0, value));
    const lineOf = (values) =>
      values.flatMap((value, i) => (value === null ? [] : [[steps[i] / steps.at(-1), clip(value / most)]]));
    const tens = Array.from({ length: epochs / 10 }, (_, i) => 10 * (i + 1));
    this.curve = new Chart({
      spoken: `Losses from epoch 1 to ${epochs}; a line marks the epoch that is shown`,
      lines: Object.fromEntries(names.map((name, i) => [colours[i], lineOf(losses[name])])),
      ticks: [...new Set([1, ...tens, epochs])].map((epoch) => [epoch / epochs, `${epoch}`]),
    });
    const keys = names.map((name, i) => [
      i ? " and " : "",
      h("span", { class: `key ${colours[i]}` }, foreign(name.replace(/_loss$/, "").replaceAll("_", " "))),
    ]);
    return [h("p.note", ["Losses: ", keys, ", against the epochs."]), this.curve.element];
  }
}
