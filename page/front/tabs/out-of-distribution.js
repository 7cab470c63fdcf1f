// Out of distribution: faces of latents with another mean than the prior's.

import { fold, slider } from "../controls.js";
import { button, h } from "../dom.js";
import { once } from "../fetched.js";
import { Tab } from "../tab.js";
import { Chart, Faces, diversity } from "../views.js";

// Returns a mean's place on the slider, 0 to 1. The scale is linear around 0 and logarithmic far away.
const place = (mean, most) => 0.5 + Math.asinh(mean) / Math.asinh(most) / 2;

// Training saw so many standard deviations around the prior's mean. Faces have collapsed below this share of their
// variety there.
const NEAR = 2;
const COLLAPSED = 0.25;

const shown = (number) => `${number}`.replace("-", "−");

export default class OutOfDistribution extends Tab {
  constructor(page, about) {
    super(page, about);
    const mean = this.control("mean");
    const most = (this.most = mean.most);
    const { ticks } = page.about.means;
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
    this.usual = new Map(); // Promises of the faces' variety at the prior's mean.
    this.list = h("div.rows");
    this.key = h("p.note", [
      h("span.key.blue", "Variety"),
      ": by how many grey levels two faces differ. ",
      h("span.key.red", "Faces"),
      ": the share of pictures in which a face detector finds one. Both were measured beforehand. The band is the ",
      "prior, the distribution that the numbers had in training; σ is its standard deviation.",
    ]);
    this.all = page.about.constants.all_models;
    this.compare = button("", () => this.set({ models: this.isOfAll ? this.single : this.all }));
    const preset = (label, values) => button(label, () => this.set(values()));
    const experiment = preset("The reports’ experiment", () => ({ mean: -3, models: this.all }));
    const tick = (value) => h("span", { style: `left: ${100 * place(value, most)}%` }, shown(value));
    const notes = [
      "The slider sets the mean of a latent’s numbers; a GAN’s switches stay as they are. In training the mean was 0, " +
        "and −3 for the shifted autoencoder.",
      "The experiment of the reports moves the mean to −3. The shifted autoencoder was trained at this mean, the plain " +
        "one was not. Do both still draw faces?",
    ];
    this.element.append(
      h("div.stage", [
        this.fields.mean.element,
        h("div.ticks", { "aria-hidden": "true" }, ticks.map(tick)),
        h("div.actions", [
          preset("Back to normal", () => ({ mean: this.models[0].priorMean })),
          [100, -100].map((value) => preset(shown(value), () => ({ mean: value }))),
          this.compare,
          page.copyButton(this),
        ]),
      ]),
      this.list,
      fold("Model, seed, how many", h("div.controls", [this.field("models"), this.field("seed"), this.field("faces")])),
      fold(
        "What is measured here, and why",
        notes.map((note) => h("p.note", note)),
        h("div.actions", experiment),
      ),
    );
  }

  get isOfAll() {
    return this.settings.models === this.all;
  }

  get models() {
    return [...this.page.models.values()].filter(({ name }) => this.isOfAll || this.settings.models === name);
  }

  // The model that was shown alone last.
  get single() {
    return this.one ?? this.control("models").first ?? this.page.about.models[0].name;
  }

  async draw(signal) {
    const { mean, models } = this.settings;
    const { single } = this;
    if (!this.isOfAll) this.one = models;
    const others = `Compare all ${this.page.models.size}`;
    this.compare.textContent = this.isOfAll ? `Only the ${this.page.models.get(single).said}` : others;
    this.list.classList.toggle("single", !this.isOfAll);
    const rows = this.models.map((model) => this.row(model).element);
    if (rows.length !== this.list.children.length || rows.some((row) => !row.isConnected)) {
      this.list.replaceChildren(...rows);
      rows[0].append(this.key);
    }
    const came = await this.first("apart", signal);
    if (!came) this.page.decoder.want(this.models);
    await Promise.all(this.models.map((model) => this.drawModel(model, came, signal)));
    this.list.dataset.mean = mean;
  }

  async drawModel(model, came, signal) {
    const { mean, seed, faces: count } = this.settings;
    const { faces, chart, numbers, verdict } = this.row(model);
    const pixels = came ?? (await this.faces(model, mean, { seed, count, signal }));
    faces.columns = Math.min(count, 8);
    faces.show(pixels, (index) => `Face ${index + 1} by the ${model.said} at mean ${mean}`);
    chart.at = place(mean, this.most);
    const variety = diversity(pixels);
    const distance = Math.abs(mean - model.priorMean) / Math.sqrt(model.priorVariance);
    const detected = measuredFaces(model, mean);
    numbers.textContent = [
      `${Number(distance.toFixed(1))} σ from normal`,
      ...(count > 1 ? [`variety ${variety.toFixed(0)}`] : []), // One face does not vary.
      ...(detected === null ? [] : [`faces detected ${Math.round(100 * detected)}\u00a0%`]),
    ].join(" · ");
    const usual = () =>
      once(this.usual, `${model.name} ${seed} ${count}`, async () =>
        diversity(await this.faces(model, model.priorMean, { seed, count })),
      );
    let what = "is near what training saw";
    if (distance > NEAR) {
      what = "is far from what training saw";
      if (count > 1 && variety < COLLAPSED * (await usual()))
        what = "has collapsed: it draws nearly the same picture for every latent";
      else if (count > 1) what += ", and its faces still differ";
    }
    const said = `The ${model.said} ${what}.`;
    if (verdict.textContent !== said) verdict.textContent = said; // Screen readers read what is written.
  }

  async faces(model, mean, { seed, count, signal }) {
    await model.ready();
    return this.page.decoder.decode(model, model.sample(seed, count, { mean }), signal);
  }

  row(model) {
    if (!this.rows.has(model)) {
      const faces = new Faces();
      const [verdict, numbers] = [h("p", { "aria-live": "polite" }), h("p")];
      const chart = chartOf(model, this.page.about.means.ticks, this.most);
      const head = h("header", [h("h3", model.name), h("p.prior", model.about.prior)]);
      const element = h("article.model", [head, faces.element, chart.element, h("div.numbers", [verdict, numbers])]);
      this.rows.set(model, { element, faces, chart, numbers, verdict });
    }
    return this.rows.get(model);
  }
}

function chartOf({ name, about, priorMean, priorVariance }, ticks, most) {
  const lines = {};
  for (const [key, colour] of Object.entries({ pixel_diversity: "blue", face_share: "red" })) {
    const values = about.measured.map((point) => point[key]);
    if (!values.length || values.includes(null)) continue;
    const top = key === "face_share" ? 1 : Math.max(...values);
    lines[colour] = about.measured.map(({ mean }, index) => [place(mean, most), values[index] / top]);
  }
  const reach = NEAR * Math.sqrt(priorVariance);
  return new Chart({
    spoken:
      `${name}: measured diversity and share of faces from mean −${most} to ${most}; ` +
      "a band marks the prior, a line the mean that is shown",
    lines,
    ticks: ticks.map((tick) => [place(tick, most), shown(tick)]),
    band: [place(priorMean - reach, most), place(priorMean + reach, most)],
  });
}

// Returns the share of pictures with a face, interpolated between the two nearest measured means, or null.
function measuredFaces({ about }, mean) {
  const points = about.measured.filter((point) => point.face_share !== null);
  if (!points.length) return null;
  const after = points.findIndex((point) => point.mean >= mean);
  if (after <= 0) return points.at(after).face_share;
  const [a, b] = [points[after - 1], points[after]];
  return a.face_share + ((b.face_share - a.face_share) * (mean - a.mean)) / (b.mean - a.mean);
}
