// The page: its tabs, its address, its status and its foot.

import { fold, keyed } from "./controls.js";
import { Decoder } from "./decoder.js";
import { button, foreign, h } from "./dom.js";
import { follow, forget, linkOf, write } from "./links.js";
import { Model } from "./models.js";
import { Tour } from "./tour.js";
import { complaint, setLimits } from "./values.js";
import { facesAt } from "./views.js";

// Shows the page in an element that holds its first screen. The caller reports errors.
export async function start(element, { base = document.baseURI } = {}) {
  const root = new URL(base, document.baseURI);
  const about = await (await fetch(new URL("page.json", root))).json();
  // A tab's module has the tab's name.
  const kinds = await Promise.all(about.tabs.map(({ name }) => import(`./tabs/${name}.js`)));
  // What the first screen shows can be drawn at once, so that no face vanishes for a moment.
  const faces = facesAt(new URL("front/first/faces.webp", root)).catch(() => {});
  await Promise.race([faces, new Promise((resolve) => setTimeout(resolve, 1000))]);
  window.latentFaces = new Page(about, root, element, kinds);
  window.latentFaces.arrive();
}

class Page {
  constructor(about, base, element, kinds) {
    Object.assign(this, { about, base });
    setLimits(about.constants);
    this.models = new Map(about.models.map((model) => [model.name, new Model(model, base)]));
    this.decoder = new Decoder();
    this.decoder.addEventListener("status", () => this.showStatus());
    this.problems = h("div");
    this.state = h("span", { role: "status" });
    this.figures = h("span", { "aria-hidden": "true" }); // Screen readers would read each of them.
    this.tabs = about.tabs.map((tab, index) => new kinds[index].default(this, tab));
    this.tour = new Tour(this);
    this.element = this.build(element.querySelector(".masthead"), element.querySelector("footer"));
    element.replaceChildren(this.element);
  }

  // Keeps the head and the foot of the first screen.
  build(head, foot) {
    this.buttons = this.tabs.map(({ name, title }) =>
      button(title, () => this.open(name), { role: "tab", id: `open-${name}`, "aria-controls": `tab-${name}` }),
    );
    const pixels = h("input", {
      type: "checkbox",
      onchange: () => this.element.classList.toggle("pixelated", pixels.checked),
    });
    this.tabs[0].element.querySelector(".meet")?.append(this.tour.steps);
    foot?.querySelector(".about").append(h("div", [h("p", foreign(this.about.introduction)), this.sources()]));
    const onkeydown = (event) => this.turn(event);
    return h("div.latent-faces", [
      head,
      h("main", [
        h("div.bar", { role: "tablist", "aria-label": "Parts of the page", onkeydown }, this.buttons),
        this.tour.element,
        this.problems,
        this.tabs.map(({ element }) => element),
        h("div.foot", [h("p.status", [this.state, this.figures]), h("label", [pixels, " Show pixels"])]),
      ]),
      foot,
    ]);
  }

  // Says where the models and the code are, and why models of the Hub are missing.
  sources() {
    const link = (address, words) => h("a", { href: new URL(address, this.base) }, words);
    const listed = (items, before) => items.map((item, index) => [index ? ", " : before, item]);
    const { links, api, models } = this.about;
    const short = (origin) => origin.split(/ \(|, /)[0];
    const shown = models.map(({ name, origin, card }) => [
      card ? link(card, name) : name,
      origin === "bundled" ? "" : [" (", foreign(short(origin)), ")"],
    ]);
    const others = [
      links.code && link(links.code, "the code"),
      links.report && link(links.report, "the report"),
      api && link("./?view=api", "the endpoints for programs"),
    ].filter(Boolean);
    const more = others.length > 0 && [listed(others, " More: "), "."];
    const incomplete = models.filter(({ origin }) => origin !== short(origin));
    const reasons = incomplete.map(({ name, origin }) => h("p", [`${name}: `, foreign(origin), "."]));
    return [
      h("p", { id: "origins" }, [listed(shown, "Models: "), ".", more]),
      reasons.length > 0 && fold("Models that did not come from the Hub", reasons),
    ];
  }

  arrive() {
    this.show();
    write(this.opened, this.tabs);
    addEventListener("popstate", () => {
      forget();
      this.show();
    });
    addEventListener("online", () => this.opened.redraw());
    // A browser would leave the page for a photograph that is dropped beside its field.
    const keep = (event) => event.dataTransfer.types.includes("Files") && event.preventDefault();
    for (const kind of ["dragover", "drop"]) addEventListener(kind, keep);
    // Networks load when the pointer or the keyboard reaches a control that may need them.
    const want = ({ target }) =>
      target.closest("button, input, select, label") && this.decoder.want(this.opened.models);
    for (const kind of ["pointerdown", "keydown", "pointerover"]) this.element.addEventListener(kind, want);
  }

  // Shows what the address says. Complaints about it stay until a setting changes.
  show() {
    const { tab, values, problems } = follow(location.search, this.tabs);
    // What a link leaves as it is stays, such as a photograph in place of a recipe.
    tab.take(Object.fromEntries(Object.entries(values).filter(([name, value]) => tab.settings[name] !== value)));
    tab.unfold();
    this.open(tab.name, { isStep: false });
    this.problems.replaceChildren(...problems.map(complaint));
  }

  tab(name) {
    return this.tabs.find((tab) => tab.name === name);
  }

  // Opens a tab. `values` are some of its settings; `isStep` says whether Back returns from it.
  open(name, { values = {}, isStep = true } = {}) {
    const before = this.opened;
    this.opened = this.tab(name);
    this.opened.take(values);
    this.problems.replaceChildren();
    this.tabs.forEach((tab, index) => {
      const isOpened = tab === this.opened;
      tab.element.hidden = !isOpened;
      this.buttons[index].setAttribute("aria-selected", `${isOpened}`);
      this.buttons[index].tabIndex = isOpened ? 0 : -1;
    });
    this.buttons[this.tabs.indexOf(this.opened)].scrollIntoView({ block: "nearest", inline: "nearest" });
    document.title = `${this.opened.title} · Latent Faces`;
    this.opened.redraw();
    this.tour.opened(name);
    if (isStep) write(this.opened, this.tabs, { isStep: before !== this.opened });
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

  // Returns a button that copies a link to what a tab shows.
  copyButton(tab) {
    const copied = async () => {
      const link = new URL(`?${linkOf(tab, tab.settings)}`, location.href.replace(/[?#].*/, ""));
      // There is no clipboard in an insecure context, and the visitor may forbid it.
      const isCopied = await navigator.clipboard?.writeText(`${link}`).then(
        () => true,
        () => false,
      );
      one.textContent = isCopied ? "Link copied" : "Copy it from the address";
      setTimeout(() => (one.textContent = "Copy link"), 2000);
    };
    const one = button("Copy link", copied, { "aria-live": "polite" });
    return one;
  }

  showStatus() {
    const { state, loaded, total, reason } = this.decoder.status;
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    const words = {
      idle: "",
      loading: "Loading the networks",
      ready: "Drawn in your browser",
    };
    const said = words[state] ?? reason;
    if (this.state.textContent !== said) this.state.textContent = said;
    const figures = total ? `: ${megabytes(loaded)} of ${megabytes(total)} MB` : " …";
    this.figures.textContent = state === "loading" ? figures : "";
    this.element.dataset.state = state;
  }
}
