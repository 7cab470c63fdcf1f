// Every model's faces at a mean that the visitor moves, far beyond the prior.

import { fold, slider } from "../controls.js";
import { button, h, shown } from "../dom.js";
import { Tab } from "../tab.js";
import { Chart, Faces, diversity } from "../views.js";

// Even in the inverse hyperbolic sine, which is straight around 0 and logarithmic far away, where less happens.
const place = (mean, most) => 0.5 + Math.asinh(mean) / Math.asinh(most) / 2;

const NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

export class OutOfDistribution extends Tab {
  constructor(page, about) {
    super(page, about);
    const mean = this.controls.find(({ name }) => name === "mean");
    const most = (this.most = mean.most);
    const scale = {
      steps: 0.001,
      step: (value) => (Math.abs(value) < 10 ? 0.1 : 1),
      to: (value) => place(value, most),
      from: (share) => {
        const value = Math.sinh((2 * share - 1) * Math.asinh(most));
        const step = scale.step(value);
        return Number((step * Math.round(value / step)).toFixed(1));
      },
    };
    this.fields.mean = slider({ ...mean, scale, class: "hero" }, (value) => this.set({ mean: value }));
    this.rows = new Map();
    this.sentence = h("p", { class: "sentence", "aria-live": "polite" });
    this.list = h("div", { class: "rows" });
    this.key = h(
      "p",
      { class: "note" },
      h("span", { class: "key blue" }, "Variety"),
      ": by how many grey levels two faces differ. ",
      h("span", { class: "key red" }, "Faces"),
      ": the share of pictures in which a face detector finds one. Both were measured beforehand. The band is the ",
      "prior, the distribution that the numbers had in training; σ is its standard deviation.",
    );
    const count = page.models.size;
    this.compare = button("", () => this.set({ models: this.isOfAll ? this.single : page.about.constants.all_models }));
    this.all = `Compare all ${NUMBERS[count] ?? count}`;
    const preset = (label, values) => button(label, () => this.set(values()));
    const experiment = preset("The reports’ experiment", () => ({ mean: -3, models: page.about.constants.all_models }));
    this.element.append(
      h(
        "div",
        { class: "stage" },
        this.fields.mean.element,
        h(
          "div",
          { class: "ticks", "aria-hidden": "true" },
          page.about.means.ticks.map((tick) => h("span", { style: `left: ${100 * place(tick, most)}%` }, shown(tick))),
        ),
        h(
          "div",
          { class: "actions" },
          preset("Back to normal", () => ({ mean: this.shown[0].priorMean })),
          [100, -100].map((value) => preset(shown(value), () => ({ mean: value }))),
          this.compare,
        ),
      ),
      this.sentence,
      this.list,
      fold(
        "Model, seed, how many",
        h("div", { class: "controls" }, this.field("models"), this.field("seed"), this.field("faces")),
      ),
      fold(
        "What is measured here, and why",
        h(
          "p",
          { class: "note" },
          "The slider moves the mean of a latent’s numbers (of a GAN’s, of those that are not switches), and each face " +
            "stays its own while it moves. In training the mean was 0, and −3 for the shifted autoencoder.",
        ),
        h(
          "p",
          { class: "note" },
          "The experiment of the reports moves the mean to −3. The shifted autoencoder expects just that, the plain one " +
            "does not: do both still draw faces?",
        ),
        h("div", { class: "actions" }, experiment, page.copyButton(this)),
      ),
    );
  }

  get isOfAll() {
    return this.settings.models === this.page.about.constants.all_models;
  }

  get shown() {
    return [...this.page.models.values()].filter(({ name }) => this.isOfAll || this.settings.models === name);
  }

  get models() {
    return this.shown;
  }

  // The one model that was shown last.
  get single() {
    const { first } = this.controls.find(({ name }) => name === "models");
    return this.one ?? first ?? this.page.about.models[0].name;
  }

  async draw() {
    const { mean, seed, faces, models } = this.settings;
    const { shown } = this;
    if (!this.isOfAll) this.one = models;
    this.compare.textContent = this.isOfAll ? `Only the ${this.page.models.get(this.single).said}` : this.all;
    this.list.classList.toggle("single", !this.isOfAll);
    const rows = shown.map((model) => this.row(model).element);
    if (rows.length !== this.list.children.length || rows.some((row) => !row.isConnected)) {
      this.list.replaceChildren(...rows);
      rows[0].append(this.key);
    }
    const draws = await Promise.all(shown.map((model) => this.drawModel(model, mean, seed, faces)));
    if (draws.includes(null)) return;
    this.sentence.textContent = inWords(mean, draws);
    this.list.dataset.mean = mean;
  }

  async drawModel(model, mean, seed, count) {
    const row = this.row(model);
    const came = await this.first("apart");
    const pixels = came ?? (await this.draws(model, { mean, seed, count, by: row }));
    if (!pixels) return null;
    const names = Array.from({ length: count }, (_, i) => `Face ${i + 1} by the ${model.said} at mean ${mean}`);
    row.faces.element.style.setProperty("--columns", Math.min(count, 8));
    row.faces.show(pixels, names);
    row.chart.at = place(mean, this.most);
    const apart = diversity(pixels);
    const distance = Math.abs(mean - model.priorMean) / Math.sqrt(model.priorVariance);
    const share = measured(model, "face_share", mean);
    row.numbers.textContent = [
      `${Number(distance.toFixed(1))} σ from normal`,
      `variety ${apart.toFixed(0)}`,
      ...(share === null ? [] : [`faces detected ${Math.round(100 * share)} %`]),
    ].join(" · ");
    const atPrior = distance <= 2 ? apart : await this.atPrior(model, seed, count);
    return atPrior === null ? null : { model, distance, share: atPrior ? apart / atPrior : 1 };
  }

  async draws(model, { mean, seed, count, by }) {
    await model.ready();
    return this.decode(model, model.sample(seed, count, { mean }), by);
  }

  // The diversity of the same noise at the prior's mean.
  async atPrior(model, seed, count) {
    const key = `${seed} ${count}`;
    const row = this.row(model);
    if (row.key !== key) {
      const pixels = await this.draws(model, { mean: model.priorMean, seed, count, by: row.chart });
      if (!pixels) return null;
      row.atPrior = diversity(pixels);
      row.key = key;
    }
    return row.atPrior;
  }

  row(model) {
    if (!this.rows.has(model)) {
      const faces = new Faces();
      const numbers = h("p", { class: "numbers" });
      const chart = farCurve(model, this.page.about.means.ticks, this.most);
      const head = h("header", {}, h("h3", {}, model.name), h("p", { class: "prior" }, model.about.prior));
      const element = h("article", { class: "model" }, head, faces.element, chart.element, numbers);
      this.rows.set(model, { element, faces, chart, numbers });
    }
    return this.rows.get(model);
  }
}

function farCurve({ name, about, priorMean, priorVariance }, ticks, most) {
  const lines = {};
  for (const [key, colour] of [
    ["pixel_diversity", "blue"],
    ["face_share", "red"],
  ]) {
    const values = about.measured.map((point) => point[key]);
    if (!values.length || values.includes(null)) continue;
    const top = key === "face_share" ? 1 : Math.max(...values);
    lines[colour] = about.measured.map(({ mean }, index) => [place(mean, most), values[index] / top]);
  }
  const reach = 2 * Math.sqrt(priorVariance);
  return new Chart({
    spoken:
      `${name}: measured diversity and share of faces from mean −${most} to ${most}; ` +
      "a band marks the prior, a line the mean that is shown",
    lines,
    ticks: ticks.map((tick) => [place(tick, most), shown(tick)]),
    band: [place(priorMean - reach, most), place(priorMean + reach, most)],
  });
}

// What was measured of a model around a mean, between the nearest two means at which it was; null where nothing was.
function measured({ about }, key, mean) {
  const points = about.measured.filter((point) => point[key] !== null);
  if (!points.length) return null;
  const after = points.findIndex((point) => point.mean >= mean);
  if (after <= 0) return points.at(after)[key];
  const [a, b] = [points[after - 1], points[after]];
  return a[key] + ((b[key] - a[key]) * (mean - a.mean)) / (b.mean - a.mean);
}

// One sentence on what is seen at a mean: which models' faces vary there, and which have collapsed.
export function inWords(mean, draws) {
  const inside = draws.filter(({ distance }) => distance <= 2);
  const alike = draws.filter(({ distance, share }) => distance > 2 && share < 0.25);
  const between = draws.filter(({ distance, share }) => distance > 2 && share >= 0.25);
  const told = (some, one, many) => {
    const names = some.map(({ model }) => `the ${model.said}`);
    const listed = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
    const short = names.length > 3 ? `${NUMBERS[names.length] ?? names.length} models` : listed;
    return some.length ? [`${short} ${some.length === 1 ? one : many}`] : [];
  };
  const parts = [
    ...told(inside, ...["is", "are"].map((verb) => `${verb} near what training saw`)),
    ...told(
      between,
      "is far from what training saw, and its faces still differ",
      "are far from what training saw, and their faces still differ",
    ),
    ...told(alike, ...["has", "have"].map((verb) => `${verb} collapsed: whatever the face, it is nearly one picture`)),
  ];
  return `At ${shown(mean)}, ${parts.join("; ")}.`;
}
