// What the browser does by itself: the address that leads back to what is on screen, and downloads.
window.latentFaces = {
  // Filled in by the page: for every tab, what its settings are on arrival.
  defaults: {},
  settings: {},
  // The tab on screen; null until the link that opened the page has been followed.
  tab: null,
  timer: null,

  // Called with [tab, name of each setting] and their values whenever one changes.
  remember([tab, ...names], values) {
    this.settings[tab] = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    this.writeAddress();
  },

  // Called when the link that opened the page has been followed.
  arrive() {
    const query = new URLSearchParams(location.search);
    const face = document.querySelector(`.faces input[value="${Number(query.get("face"))}"]`);
    if (face) face.checked = true;
    this.tab = query.get("tab") in this.defaults ? query.get("tab") : Object.keys(this.defaults)[0];
    const asked = [...query].filter(([name]) => name in this.defaults[this.tab]);
    this.settings[this.tab] ??= Object.fromEntries(asked);
  },

  show(tab) {
    if (!this.tab) return;
    this.tab = tab;
    this.writeAddress();
  },

  // Browsers allow so many changes of the address in a while, fewer than a dragged slider makes.
  writeAddress() {
    clearTimeout(this.timer);
    if (!this.tab) return;
    this.timer = setTimeout(() => {
      const query = new URLSearchParams({ tab: this.tab });
      for (const [name, value] of Object.entries(this.settings[this.tab] ?? {})) {
        if (value !== null && value !== this.defaults[this.tab][name]) query.set(name, value);
      }
      const theme = new URLSearchParams(location.search).get("__theme");
      if (theme) query.set("__theme", theme);
      history.replaceState(history.state, "", `${location.pathname}?${query}`);
    }, 200);
  },

  chosenFace() {
    return Number(document.querySelector(".faces input:checked").value);
  },

  // Remember which of the switches was pressed, if it was one.
  press(element) {
    this.pressed = element.closest("button[data-bit]");
    return this.pressed;
  },

  // The held bits after the press, and which bit it was: a switch flips its bit and holds it, a lock holds or frees it.
  turn(bits) {
    const { bit, action } = this.pressed.dataset;
    const switches = [...document.querySelectorAll('[data-action="flip"]')];
    const on = switches[bit - 1].getAttribute("aria-pressed") === "true";
    const held = [...(bits || ".".repeat(switches.length))];
    if (action === "flip") held[bit - 1] = on ? "-" : "+";
    else if (held[bit - 1] === ".") held[bit - 1] = on ? "+" : "-";
    else held[bit - 1] = ".";
    const all = held.join("");
    return [/[+-]/.test(all) ? all : "", Number(bit)];
  },

  roll() {
    return Math.floor(Math.random() * 2 ** 32);
  },

  smooth(on) {
    document.documentElement.style.setProperty("--rendering", on ? "auto" : "pixelated");
  },

  // The chosen face as it came, with its recipe inside.
  downloadFace(name) {
    // Where fewer faces are left than the number of the chosen one, the last is.
    const image = [...document.querySelectorAll(".faces label:has(:checked) img, .faces label:last-child img")][0];
    this.download(image.src, `${name}.png`);
  },

  download(address, name) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  },
};
