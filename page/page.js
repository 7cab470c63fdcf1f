// The browser's side of screen.py: asks for drawings, keeps the address, and flips bits by itself.
window.latentFaces = {
  // For every tab its settings by name; filled in by the page.
  settingsOnArrival: {},
  // The same as they are now, where they have changed.
  settings: {},
  // The tab on screen; null until the link that opened the page has been followed.
  tab: null,
  // Of every tab: what shows its results, what they were last, and which are being waited for.
  pictures: {},
  results: {},
  waiting: {},
  // The number of the chosen face.
  face: 1,

  connect(server, notice) {
    this.notice = notice;
    this.connected(server);
  },

  // A part of a tab has appeared, on arrival or when the tab is first opened.
  mount(tab, index, element) {
    (this.pictures[tab] ??= [])[index] = element;
    if (this.results[tab]) this.write(element, this.results[tab][index]);
    else if (index === 0 && !element.querySelector("img")) {
      this.draw(tab, Object.values(this.settings[tab] ?? this.settingsOnArrival[tab]));
    }
  },

  change(tab, values) {
    const names = Object.keys(this.settingsOnArrival[tab]);
    this.settings[tab] = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    this.writeAddress();
    this.draw(tab, values);
  },

  // Ask for one drawing at a time; while it is awaited, only the last of all further wishes counts.
  draw(tab, values) {
    const waiting = (this.waiting[tab] ??= { wish: null, drawn: null });
    waiting.wish = values;
    waiting.drawn ??= this.drawWishes(tab, waiting);
  },

  async drawWishes(tab, waiting) {
    // Who waits for less than 300 ms sees nothing of it.
    const timer = setTimeout(() => this.sayBusy(tab, true), 300);
    const server = await this.server;
    while (waiting.wish) {
      const wish = waiting.wish;
      waiting.wish = null;
      try {
        this.show(tab, await server.draw([tab, wish]));
      } catch {
        this.show(tab, ['<p class="complaint" role="alert">The page does not answer. Try again in a while.</p>']);
      }
    }
    clearTimeout(timer);
    this.sayBusy(tab, false);
    waiting.drawn = null;
  },

  show(tab, results) {
    this.results[tab] = results;
    this.pictures[tab]?.forEach((element, index) => this.write(element, results[index] ?? ""));
    this.markChosen();
  },

  // Only what differs is touched: no picture is drawn that stays, and none disappears before its successor is there.
  write(element, html) {
    // What is parsed in a template loads nothing.
    const template = document.createElement("template");
    template.innerHTML = html;
    this.patch(element, template.content);
  },

  patch(now, wanted) {
    const nodes = [...now.childNodes];
    const fresh = [...wanted.childNodes];
    fresh.forEach((node, index) => {
      const old = nodes[index];
      if (!old) now.append(node);
      else if (old.nodeName !== node.nodeName) old.replaceWith(node);
      else if (node.nodeType === Node.TEXT_NODE) old.nodeValue !== node.nodeValue && (old.nodeValue = node.nodeValue);
      else {
        // Whether details are open is their reader's.
        const stays = (name) => name === "open" || node.hasAttribute(name);
        for (const { name } of [...old.attributes]) if (!stays(name)) old.removeAttribute(name);
        for (const { name, value } of node.attributes) {
          if (old.getAttribute(name) !== value) old.setAttribute(name, value);
        }
        this.patch(old, node);
      }
    });
    nodes.slice(fresh.length).forEach((old) => old.remove());
  },

  sayBusy(tab, busy) {
    this.pictures[tab]?.forEach((element) => (element.ariaBusy = String(busy)));
  },

  // Follow the link that opened the page: [which tab, all settings of all tabs], given as they are.
  async arrive(values) {
    const { tab, values: asked, problems } = await (await this.server).follow(location.search);
    this.notice.value = problems;
    this.settings[tab] = { ...this.settingsOnArrival[tab], ...asked };
    this.tab = tab;
    this.face = asked.face ?? this.face;
    this.markChosen();
    const places = Object.entries(this.settingsOnArrival).flatMap(([name, settings]) =>
      Object.keys(settings).map((setting) => [name, setting]),
    );
    const followed = places.map(([name, setting], index) => (name === tab ? asked[setting] : null) ?? values[index]);
    return [{ __type__: "update", selected: tab }, ...followed];
  },

  open(tab) {
    if (!this.tab) return;
    this.tab = tab;
    this.writeAddress();
  },

  // Browsers allow so many changes of the address in a while, fewer than a dragged slider makes.
  writeAddress() {
    clearTimeout(this.timer);
    if (!this.tab) return;
    this.timer = setTimeout(() => {
      // Parameters that are not of this page stay as they are.
      const query = new URLSearchParams(location.search);
      for (const settings of [{ tab: null }, ...Object.values(this.settingsOnArrival)]) {
        Object.keys(settings).forEach((name) => query.delete(name));
      }
      query.set("tab", this.tab);
      for (const [name, value] of Object.entries(this.settings[this.tab] ?? {})) {
        if (value !== null && value !== this.settingsOnArrival[this.tab][name]) query.set(name, value);
      }
      history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
      // On a Space this page lies inside another, whose address people see and copy; no other site gets the message.
      if (window.parent !== window) {
        query.delete("__sign"); // Lets its bearer see a private Space.
        window.parent.postMessage({ queryString: `${query}`, hash: location.hash }, "https://huggingface.co");
      }
    }, 200);
  },

  choose(radio) {
    this.face = Number(radio.value);
  },

  // The chosen face stays chosen, whichever are drawn; where fewer are left than its number, the last is.
  markChosen() {
    const radios = document.querySelectorAll(".faces input");
    if (radios.length) radios[Math.min(this.face, radios.length) - 1].checked = true;
  },

  // Its part of the page, once all that was asked for is on screen.
  async chosen() {
    await this.waiting.generate?.drawn;
    return document.querySelector(".faces label:has(:checked)");
  },

  async recipe() {
    return (await this.chosen()).dataset.recipe;
  },

  // The bits of the chosen face, those with names too.
  async holdAll() {
    await this.chosen();
    return document.querySelector(".bits").dataset.bits;
  },

  // Remember which of the switches was pressed, if it was one.
  press(element) {
    this.pressed = element.closest("button[data-action], button[data-item]");
    return this.pressed;
  },

  // The held bits after the press, and which bit it was: a switch flips its bit and holds it, a lock holds or frees it.
  turn(bits) {
    const { bit, action } = this.pressed.dataset;
    const now = this.pressed.closest(".bits").dataset.bits;
    const on = now[bit - 1] === "+";
    const held = [...(bits || ".".repeat(now.length))];
    if (action === "flip") held[bit - 1] = on ? "-" : "+";
    else if (held[bit - 1] === ".") held[bit - 1] = on ? "+" : "-";
    else held[bit - 1] = ".";
    return [this.heldBits(held), Number(bit)];
  },

  heldBits(held) {
    return held.some((bit) => bit !== ".") ? held.join("") : "";
  },

  // The wished attributes after the press, the held bits, and which bit it was: a side of a switch takes the place of
  // whatever was wished for its attribute, and the same side again takes the wish back.
  turnAttribute(attributes, bits, bit) {
    const { item, sign, bit: own } = this.pressed.dataset;
    const wishes = (attributes.match(/(?:"(?:[^"]|"")*"|[^,"])+/g) ?? []).map((wish) => wish.trim()).filter(Boolean);
    const others = wishes.filter((wish) => this.attributeOf(wish) !== this.attributeOf(item));
    const held = [...bits];
    const was = wishes.includes(item) || (others.length === wishes.length && own && held[own - 1] === sign);
    if (own && held.length) held[own - 1] = ".";
    return [(was ? others : [...others, item]).join(", "), this.heldBits(held), Number(own || bit)];
  },

  // Which attribute a wish such as "no Eyeglasses" or "young=0.5" is about.
  attributeOf(wish) {
    return wish
      .replace(/^("?)no /i, "$1")
      .replace(/=[^=",]*("?)$/, "$1")
      .replaceAll("_", " ")
      .toLowerCase();
  },

  roll() {
    return Math.floor(Math.random() * 2 ** 32);
  },

  smooth(on) {
    document.documentElement.style.setProperty("--rendering", on ? "auto" : "pixelated");
  },

  // The chosen face as it came, with its recipe inside.
  async downloadFace(name) {
    this.download((await this.chosen()).querySelector("img").src, `${name}.png`);
  },

  download(address, name) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  },
};
latentFaces.server = new Promise((resolve) => (latentFaces.connected = resolve));
