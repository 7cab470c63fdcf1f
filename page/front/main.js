// The page: its tabs, what they share, and the first faces.

import { Decoder } from "./decoder.js";
import { button, foreign, fromBase64, h, toBase64 } from "./dom.js";
import { follow, write } from "./links.js";
import { Model } from "./models.js";
import { Generate } from "./tabs/generate.js";
import { Interpolate } from "./tabs/interpolate.js";
import { OutOfDistribution } from "./tabs/out-of-distribution.js";
import { Reconstruct } from "./tabs/reconstruct.js";
import { Training } from "./tabs/training.js";
import { complaint, writeRecipe } from "./values.js";
import { FACE_BYTES, SIDE } from "./views.js";

const KINDS = {
  generate: Generate,
  interpolate: Interpolate,
  reconstruct: Reconstruct,
  "out-of-distribution": OutOfDistribution,
  training: Training,
};

// Show the page in an element that holds its first pictures.
export async function start(element, { base = document.baseURI, server = null, upload = null } = {}) {
  const root = new URL(base, document.baseURI);
  try {
    const answer = await fetch(new URL("page.json", root));
    const page = new Page(await answer.json(), { base: root, server, upload }, element);
    window.latentFaces = page;
    page.arrive();
  } catch (error) {
    console.error(error);
    element.append(complaint("The page could not be loaded. Load it again in a while."));
  }
}

class Page {
  constructor(about, { base, server, upload }, element) {
    Object.assign(this, { about, base, upload, server: about.server ? server : null });
    this.models = new Map(about.models.map((model) => [model.name, new Model(model, base)]));
    const remote = this.server && ((name, z) => this.decodeRemotely(name, z));
    this.decoder = new Decoder(this.models, base, remote);
    this.decoder.addEventListener("status", () => this.showStatus());
    this.embedded = embeddedFaces(element);
    this.tabs = about.tabs.map((tab) => new KINDS[tab.name](this, tab));
    this.problems = h("div");
    this.status = h("p", { class: "status", role: "status" });
    this.reason = h("p");
    this.element = this.build();
    element.replaceChildren(this.element);
  }

  build() {
    const open = ({ name, title }) =>
      button(title, () => this.open(name), { role: "tab", id: `open-${name}`, "aria-controls": `tab-${name}` });
    this.buttons = this.tabs.map(open);
    const enlarge = h("input", {
      type: "checkbox",
      onchange: () => this.element.classList.toggle("pixelated", enlarge.checked),
    });
    const origins = this.about.models.flatMap(({ name, origin }, i) => [i ? ", " : "", `${name}: `, foreign(origin)]);
    return h(
      "div",
      { class: "latent-faces" },
      h("header", { class: "masthead" }, h("h1", {}, "Latent Faces"), h("p", {}, this.about.introduction)),
      h(
        "div",
        { class: "bar" },
        h(
          "nav",
          { role: "tablist", "aria-label": "Parts of the page", onkeydown: (event) => this.turn(event) },
          this.buttons,
        ),
        this.status,
        h("label", { class: "pixels" }, enlarge, " Show pixels"),
      ),
      this.problems,
      this.tabs.map(({ element }) => element),
      h(
        "footer",
        { id: "origins" },
        this.reason,
        !this.server && h("p", {}, "This page has no server, so it takes no photographs."),
        h("p", {}, "Weights: ", origins, "."),
      ),
    );
  }

  arrive() {
    const { tab, values, problems } = follow(location.search, this.about.tabs);
    this.problems.replaceChildren(...problems.map(complaint));
    this.tab(tab.name).take(values);
    this.open(tab.name);
    // The networks come when a hand touches something, or when there is nothing else to do.
    const begin = () => this.decoder.start();
    for (const kind of ["pointerdown", "keydown"]) this.element.addEventListener(kind, begin, { once: true });
    (window.requestIdleCallback ?? ((call) => setTimeout(call, 1000)))(begin, { timeout: 3000 });
  }

  tab(name) {
    return this.tabs.find((tab) => tab.name === name);
  }

  open(name) {
    this.opened = this.tab(name);
    this.tabs.forEach((tab, index) => {
      const on = tab === this.opened;
      tab.element.hidden = !on;
      this.buttons[index].setAttribute("aria-selected", `${on}`);
      this.buttons[index].tabIndex = on ? 0 : -1;
    });
    if (!this.opened.visited) this.opened.wish();
    this.opened.visited = true;
    write(this.opened, this.tabs);
  }

  // Arrow keys go from tab to tab, as everywhere.
  turn(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const index = (this.tabs.indexOf(this.opened) + by + this.tabs.length) % this.tabs.length;
    this.open(this.tabs[index].name);
    this.buttons[index].focus();
  }

  touched(tab) {
    this.isTouched = true;
    if (tab === this.opened) write(tab, this.tabs);
  }

  // The chosen face of Generate as an end of a walk.
  send(end, generate) {
    const interpolate = this.tab("interpolate");
    interpolate.visited = true;
    interpolate.set({ model: generate.settings.model, [end]: writeRecipe(generate.chosen) });
    this.open("interpolate");
  }

  // The faces that came with the page, slightly compressed, if these are they. They do until something is touched.
  cameAlong(model, { seed, mean }, count) {
    const pixels = this.embedded.get(model.name);
    const isAskedFor = !this.isTouched && seed === 0 && mean === 0 && count * FACE_BYTES === pixels?.length;
    return isAskedFor ? pixels : null;
  }

  // Faces (count, 64, 64, 4) of a model's draws around a mean.
  async faces(model, { seed, mean }, count) {
    const embedded = this.cameAlong(model, { seed, mean }, count);
    if (embedded) return embedded;
    await model.ready();
    return this.decode(model, model.sample(seed, count, { mean }));
  }

  decode(model, z) {
    return this.decoder.decode(model.name, z);
  }

  async decodeRemotely(name, z) {
    const found = await this.server.decode([name, toBase64(z)]).catch(() => null);
    if (!found) throw new Error("The page does not answer. Try again in a while.");
    if (found.complaint) throw new Error(found.complaint);
    return fromBase64(found.faces);
  }

  showStatus() {
    const { state, loaded, total, reason } = this.decoder.status;
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    this.status.textContent = {
      idle: "",
      loading: `Loading the networks: ${megabytes(loaded)} of ${megabytes(total)} MB`,
      local: "Drawn in your browser",
      remote: "Drawn by the server",
    }[state];
    this.reason.replaceChildren(foreign(reason));
    this.element.dataset.state = state;
  }
}

// The strips of faces that came with the page, by the model's name.
function embeddedFaces(element) {
  const strips = new Map();
  for (const image of element.querySelectorAll("img[data-model]")) {
    if (!image.complete || image.naturalHeight !== SIDE) continue;
    const drawn = h("canvas", { width: image.naturalWidth, height: SIDE });
    const context = drawn.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const count = image.naturalWidth / SIDE;
    const pixels = new Uint8ClampedArray(count * FACE_BYTES);
    for (let i = 0; i < count; i++) pixels.set(context.getImageData(i * SIDE, 0, SIDE, SIDE).data, i * FACE_BYTES);
    strips.set(image.dataset.model, pixels);
  }
  return strips;
}
