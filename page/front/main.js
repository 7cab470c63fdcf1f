// The page: its tabs, and what they share.

import { keyed } from "./controls.js";
import { Decoder } from "./decoder.js";
import { button, copy, foreign, h } from "./dom.js";
import { follow, forget, linkOf, write } from "./links.js";
import { Model } from "./models.js";
import { Generate } from "./tabs/generate.js";
import { Interpolate } from "./tabs/interpolate.js";
import { OutOfDistribution } from "./tabs/out-of-distribution.js";

import { Training } from "./tabs/training.js";
import { YourPhoto } from "./tabs/your-photo.js";
import { Tour } from "./tour.js";
import { complaint } from "./values.js";
import { facesOf } from "./views.js";

const KINDS = {
  generate: Generate,
  interpolate: Interpolate,
  reconstruct: YourPhoto,
  "out-of-distribution": OutOfDistribution,
  training: Training,
};

// Show the page in an element that holds its first screen.
export async function start(element, { base = document.baseURI } = {}) {
  const root = new URL(base, document.baseURI);
  try {
    const answer = await fetch(new URL("page.json", root));
    const page = new Page(await answer.json(), root, element);
    window.latentFaces = page;
    page.arrive();
  } catch (error) {
    console.error(error);
    element.append(complaint("The page could not be loaded. Load it again in a while."));
  }
}

class Page {
  #first = new Map(); // Promises of pictures that came along, by their names.

  constructor(about, base, element) {
    Object.assign(this, { about, base });
    this.models = new Map(about.models.map((model) => [model.name, new Model(model, base)]));
    this.decoder = new Decoder(this.models, base);
    this.decoder.addEventListener("status", () => this.showStatus());
    this.decoder.addEventListener("again", () => this.opened.wish());
    this.problems = h("div");
    this.status = h("p", { class: "status", role: "status" });
    this.tabs = about.tabs.map((tab) => new KINDS[tab.name](this, tab));
    this.tour = new Tour(this);
    this.element = this.build(element.querySelector(".masthead"), element.querySelector("footer"));
    element.replaceChildren(this.element);
  }

  // The head and the foot of the first screen stay.
  build(head, foot) {
    const open = ({ name, title }) =>
      button(title, () => this.open(name), { role: "tab", id: `open-${name}`, "aria-controls": `tab-${name}` });
    this.buttons = this.tabs.map(open);
    const enlarge = h("input", {
      type: "checkbox",
      onchange: () => this.element.classList.toggle("pixelated", enlarge.checked),
    });
    this.tabs[0].element.querySelector(".meet")?.append(this.tour.steps);
    foot?.querySelector(".about").append(h("p", {}, foreign(this.about.introduction)), this.sources());
    return h(
      "div",
      { class: "latent-faces" },
      head,
      h(
        "main",
        {},
        h(
          "div",
          { class: "bar", role: "tablist", "aria-label": "Parts of the page", onkeydown: (event) => this.turn(event) },
          this.buttons,
        ),
        this.tour.element,
        this.problems,
        this.tabs.map(({ element }) => element),
        h("div", { class: "foot" }, this.status, h("label", {}, enlarge, " Show pixels")),
      ),
      foot,
    );
  }

  // Where the models and the code are.
  sources() {
    const link = (address, words) => h("a", { href: new URL(address, this.base) }, words);
    const { links = {}, api } = this.about;
    const models = this.about.models.flatMap(({ name, origin, card }, index) => [
      index ? ", " : "Models: ",
      card ? link(card, name) : name,
      origin === "bundled" ? "" : [" (", foreign(origin), ")"],
    ]);
    const others = [
      links.code && link(links.code, "the code"),
      links.report && link(links.report, "the report"),
      api && link("./?view=api", "the endpoints for programs"),
    ].filter(Boolean);
    return h(
      "p",
      { id: "origins" },
      models,
      ".",
      others.map((other, index) => [index ? ", " : " More: ", other]),
      others.length > 0 && ".",
    );
  }

  arrive() {
    this.show();
    write(this.opened, this.tabs);
    addEventListener("popstate", () => {
      forget();
      this.show();
    });
    addEventListener("online", () => this.opened.wish());
    // Networks come when a hand is near what it could touch.
    const want = ({ target }) =>
      target.closest("button, input, select, label") && this.decoder.want(this.opened.models.map(({ name }) => name));
    for (const kind of ["pointerdown", "keydown", "pointerover"]) this.element.addEventListener(kind, want);
  }

  // Show what the address says. What is wrong with it is said once, until something is touched.
  show() {
    const { tab, values, problems } = follow(location.search, this.tabs);
    const isNew = Object.entries(values).some(([name, value]) => tab.settings[name] !== value);
    tab.take(values);
    tab.unfold();
    this.open(tab.name, { isStep: false });
    this.problems.replaceChildren(...problems.map(complaint));
    if (isNew) tab.wish();
  }

  tab(name) {
    return this.tabs.find((tab) => tab.name === name);
  }

  open(name, { isStep = true } = {}) {
    const before = this.opened;
    this.opened = this.tab(name);
    this.problems.replaceChildren();
    this.tabs.forEach((tab, index) => {
      const on = tab === this.opened;
      tab.element.hidden = !on;
      this.buttons[index].setAttribute("aria-selected", `${on}`);
      this.buttons[index].tabIndex = on ? 0 : -1;
    });
    this.buttons[this.tabs.indexOf(this.opened)].scrollIntoView({ block: "nearest", inline: "nearest" });
    if (!this.opened.visited) this.opened.wish();
    this.opened.visited = true;
    this.tour.opened(name);
    if (isStep && before !== this.opened) write(this.opened, this.tabs, { isStep });
  }

  // Go to a tab, with some of its settings.
  go(name, values) {
    const tab = this.tab(name);
    tab.take(values);
    tab.visited = true;
    this.open(name);
    this.touched(tab);
    tab.wish();
  }

  turn(event) {
    const to = keyed(event, this.tabs.indexOf(this.opened), this.tabs.length);
    if (to === null) return;
    this.open(this.tabs[to].name);
    this.buttons[to].focus();
  }

  touched(tab) {
    this.problems.replaceChildren();
    if (tab === this.opened) write(tab, this.tabs);
  }

  // A button that copies the address of what is shown.
  copyButton(tab) {
    const copied = async () => {
      const link = new URL(`?${linkOf(tab)}`, location.href.replace(/[?#].*/, ""));
      one.textContent = (await copy(`${link}`)) ? "Link copied" : "Copy it from the address";
      setTimeout(() => (one.textContent = "Copy link"), 2000);
    };
    const one = button("Copy link", copied, { "aria-live": "polite" });
    return one;
  }

  // Faces that came along as a picture, (n, 64, 64, 4); null where it cannot be had.
  first(name) {
    const load = async () => {
      const image = new Image();
      image.src = new URL(`front/first/${name}.webp`, this.base);
      await image.decode();
      return facesOf(image);
    };
    if (!this.#first.has(name))
      this.#first.set(
        name,
        load().catch(() => null),
      );
    return this.#first.get(name);
  }

  showStatus() {
    const { state, loaded, total, reason } = this.decoder.status;
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    this.status.textContent =
      {
        idle: "",
        loading: `Loading the networks: ${megabytes(loaded)} of ${megabytes(total)} MB`,
        ready: "Drawn in your browser",
      }[state] ?? reason;
    this.element.dataset.state = state;
  }
}
