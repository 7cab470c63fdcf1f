// Latents to faces, and whatever else a network is asked, in workers of the visitor's own browser.

import { fetched } from "./fetched.js";
import { MOST } from "./kernel/decoder.js";
import { Pool } from "./pool.js";

// What one face is: 64 x 64 pixels, RGBA.
const FACE_BYTES = 4 * 64 * 64;

// Faces that are worth a second worker. The first autoencoders spend their time on reading the weights of their fully
// connected layers, which takes as long for one face as for eight.
const FEWEST = { autoencoder: 8 };
const FEWEST_OTHERS = 3;

// So many faces are kept and not decoded again: 16 MB.
const KEPT = 1024;

// The kinds of models that come first where several are wanted.
const BEST = ["attribute-generator", "perceptual-autoencoder"];

const here = (file) => new URL(file, import.meta.url);

/** Tells "status" whenever `status` has changed, and "again" when what failed may do now. */
export class Decoder extends EventTarget {
  #line = new Line();
  #pools = new Map(); // Of both kinds of workers: promises.
  #bytes = new Map(); // Of all that is loaded, by name: {done, total}
  #networks = new Map(); // By name: {network, opened: a promise, isOpen, complaint}
  #told = new Map(); // What files tell of them: promises.
  #newest = new WeakMap();
  #faces = new Map();
  #unable = globalThis.WebAssembly ? "" : unable("has no WebAssembly");

  constructor(models, base) {
    super();
    this.models = models;
    this.base = base;
    addEventListener("online", () => this.#again());
  }

  /** {state: "idle", "loading", "ready", "failed" or "unable"; loaded, total: bytes; reason: a sentence where it failed} */
  get status() {
    const networks = [...this.#networks.values()];
    const sum = (key) => [...this.#bytes.values()].reduce((sum, bytes) => sum + bytes[key], 0);
    const complaint = networks.find(({ complaint }) => complaint)?.complaint;
    const isLoading = networks.some(({ isOpen, complaint }) => !isOpen && !complaint);
    const state = isLoading ? "loading" : complaint ? "failed" : networks.length ? "ready" : "idle";
    return {
      state: this.#unable ? "unable" : state,
      loaded: sum("done"),
      total: sum("total"),
      reason: this.#unable || complaint || "",
    };
  }

  /** Load models by their names, the best first. */
  want(names) {
    for (const name of names) this.open(this.models.get(name)).catch(() => {});
  }

  /**
   * Latents, `latentSize` numbers a face, to their faces: RGBA, 64 x 64 pixels a face, in one Uint8ClampedArray. Null
   * as soon as there is a newer question of the same object, `by`.
   */
  async decode(name, z, { by } = {}) {
    const model = this.models.get(name);
    const count = z.length / model?.latentSize;
    if (!(Number.isInteger(count) && count > 0)) throw new Error(`These are no latents of the ${name}.`);
    return this.#supersede(by, (isWanted) => this.#decode(model, z.slice(), count, isWanted));
  }

  /**
   * What a graph answers to inputs by their names, each {data: Float32Array, shape}: outputs in the same form, or null as
   * `decode`. `network` is {name, graph, weights}: a name of its own, the graph's address seen from this file, and a
   * model's Weights if the graph takes tensors of them.
   */
  async run(network, inputs, { by } = {}) {
    return this.#supersede(by, async (isWanted) => {
      const pool = await this.open(network);
      return (await pool.ask(network.name, { inputs }, isWanted))?.outputs ?? null;
    });
  }

  /** Load what a network needs, a model or a graph. */
  open(network) {
    const { name } = network;
    const known = this.#networks.get(name);
    if (known && !known.complaint) return known.opened;
    const opened = this.#open(network);
    const state = { network, opened, isOpen: false, complaint: "" };
    opened.then(
      () => this.#tell(state, { isOpen: true }),
      (error) => this.#tell(state, { complaint: error.message }),
    );
    this.#networks.set(name, state);
    this.#tell(state);
    return opened;
  }

  async #open(network) {
    if (this.#unable) throw new Error(this.#unable);
    const { name, kind, graph, weights } = network;
    const rank = BEST.includes(kind) ? BEST.indexOf(kind) : BEST.length;
    const tensors = (names) =>
      this.#line.enter(rank, (moved) =>
        weights.tensors(names, (...bytes) => {
          moved();
          this.#count(name, ...bytes);
        }),
      );
    // What a file tells of a network, and the tensors that it names.
    const described = async (file, key, namesIn) => {
      const told = await this.#json(file);
      if (!Object.hasOwn(told, key)) throw new Error(`The ${name} has layers that a browser cannot compute.`);
      return [told[key], await tensors(namesIn(told[key]))];
    };
    if (!graph) {
      const [pool, [layers, found]] = await Promise.all([
        this.#pool("kernel"),
        described("kernel/decoders.json", network.about.architecture, tensorsOf),
      ]);
      pool.add(name, { layers, tensors: found, latentSize: network.latentSize });
      await pool.ask(name);
      return pool;
    }
    const [pool, { bytes }, found] = await Promise.all([
      this.#pool("graphs"),
      fetched(here(graph)),
      weights ? described("graphs/shapes.json", graph.match(/([^/]*)\.onnx$/)?.[1], Object.keys) : [{}, new Map()],
    ]);
    for (const [tensor, wanted] of Object.entries(found[0])) {
      const { shape } = found[1].get(tensor);
      if (`${shape}` === `${wanted}`) continue;
      const sizes = `${tensor} is ${shape.join(" x ")} and not ${wanted.join(" x ")}`;
      throw new Error(`The ${name} has other sizes than the graph that a browser runs: ${sizes}.`);
    }
    pool.add(name, { graph: bytes, tensors: found[1] });
    return pool;
  }

  async #decode(model, z, count, isWanted) {
    const size = model.latentSize;
    const rows = Array.from({ length: count }, (_, i) => z.subarray(i * size, (i + 1) * size));
    const keys = rows.map((row) => `${model.name} ${String.fromCharCode(...new Uint16Array(row.slice().buffer))}`);
    const found = new Map(keys.map((key) => [key, this.#faces.get(key)]));
    const missing = keys.flatMap((key, i) => (found.get(key) ? [] : [i]));
    if (missing.length) {
      const pool = await this.open(model);
      if (!isWanted()) return null;
      const decodePart = async (part) => {
        const latents = new Float32Array(part.length * size);
        part.forEach((i, to) => latents.set(rows[i], to * size));
        const answer = await pool.ask(model.name, { z: latents, count: part.length }, isWanted);
        if (!answer) return;
        part.forEach((i, at) => found.set(keys[i], answer.pixels.subarray(at * FACE_BYTES, (at + 1) * FACE_BYTES)));
      };
      // As many parts for each worker.
      const hands = pool.size(model.name);
      const share = Math.ceil(missing.length / (Math.ceil(missing.length / (MOST * hands)) * hands));
      const step = Math.max(share, FEWEST[model.kind] ?? FEWEST_OTHERS);
      const parts = [];
      for (let at = 0; at < missing.length; at += step) parts.push(missing.slice(at, at + step));
      await Promise.all(parts.map(decodePart));
      if (!isWanted()) return null;
    }
    const faces = new Uint8ClampedArray(count * FACE_BYTES);
    keys.forEach((key, i) => {
      faces.set(found.get(key), i * FACE_BYTES);
      this.#faces.delete(key); // So that it is the last to be forgotten.
      this.#faces.set(key, found.get(key));
    });
    for (const key of this.#faces.keys()) {
      if (this.#faces.size <= KEPT) break;
      this.#faces.delete(key);
    }
    return faces;
  }

  // The answer of `work`, or null at once when a newer question of the same object comes.
  #supersede(by, work) {
    if (!by) return work(() => true);
    this.#newest.get(by)?.();
    let isWanted = true;
    const superseded = new Promise((resolve) => {
      this.#newest.set(by, () => {
        isWanted = false;
        resolve(null);
      });
    });
    return Promise.race([work(() => isWanted), superseded]);
  }

  // The workers of a kind, with what they run.
  #pool(kind) {
    if (!this.#pools.has(kind)) {
      const lost = (complaint) => {
        this.#pools.delete(kind); // So that it can be tried again.
        for (const state of this.#networks.values()) {
          if (kind === (state.network.graph ? "graphs" : "kernel")) this.#tell(state, { isOpen: false, complaint });
        }
      };
      const opening = kind === "graphs" ? this.#openGraphs(lost) : this.#openKernel(lost);
      this.#pools.set(kind, opening);
      opening.catch(() => this.#pools.delete(kind));
    }
    return this.#pools.get(kind);
  }

  async #openKernel(lost) {
    const progress = (...bytes) => this.#count("", ...bytes);
    for (const file of ["kernel-relaxed.wasm", "kernel.wasm"]) {
      const { bytes } = await fetched(here(`kernel/${file}`), { progress });
      if (WebAssembly.validate(bytes)) return new Pool("kernel/worker.js", await WebAssembly.compile(bytes), lost);
    }
    throw new Error((this.#unable = unable("is too old")));
  }

  async #openGraphs(lost) {
    if (!globalThis.DecompressionStream) throw new Error("This browser is too old to look at photographs.");
    const count = (...bytes) => this.#count("graphs", ...bytes);
    const { bytes } = await fetched(here("vendor/ort-wasm-simd-threaded.wasm.gz"), { progress: count });
    // Some servers declare it compressed, and the browser has it whole.
    const unpacked = () => new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const runtime = bytes[0] === 0x1f ? await new Response(unpacked()).arrayBuffer() : bytes.buffer;
    return new Pool("worker.js", runtime, lost);
  }

  // Of all networks that are wanted at once it is read once, so that they come to the line together.
  #json(file) {
    if (!this.#told.has(file)) {
      const told = fetched(here(file)).then(({ bytes }) => JSON.parse(new TextDecoder().decode(bytes)));
      this.#told.set(file, told);
      told.catch(() => this.#told.delete(file));
    }
    return this.#told.get(file);
  }

  #again() {
    const failed = [...this.#networks.values()].filter(({ complaint }) => complaint);
    if (!failed.length) return;
    for (const { network } of failed) this.open(network).catch(() => {});
    this.dispatchEvent(new Event("again"));
  }

  #count(name, done, total) {
    this.#bytes.set(name, { done, total });
    this.#tell();
  }

  #tell(state = {}, change = {}) {
    Object.assign(state, change);
    this.dispatchEvent(new Event("status"));
  }
}

const unable = (why) => `This browser ${why}, so it shows only the pictures that came with the page.`;

// The names of the tensors that layers take.
function tensorsOf(layers) {
  const normalised = ({ norm }) => ["weight", "bias", "running_mean", "running_var"].map((of) => `${norm}.${of}`);
  return layers.flatMap((layer) => [
    `${layer.name}.weight`,
    ...(layer.norm ? normalised(layer) : [`${layer.name}.bias`]),
  ]);
}

// Loads go one after another, the best first. One that gets nothing for a second lets the next begin.
class Line {
  #waiting = [];
  #moving = null;

  /** `load` is called with what it has to call whenever something came. */
  enter(rank, load) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rank, load, resolve, reject });
      setTimeout(() => this.#next()); // After all that are wanted at once.
    });
  }

  #next() {
    if (this.#moving || !this.#waiting.length) return;
    this.#waiting.sort((a, b) => a.rank - b.rank);
    const mine = (this.#moving = this.#waiting.shift());
    let timer;
    const leave = () => {
      clearTimeout(timer);
      if (this.#moving !== mine) return;
      this.#moving = null;
      this.#next();
    };
    const moved = () => {
      clearTimeout(timer);
      timer = setTimeout(leave, 1000);
    };
    moved();
    mine.load(moved).then(mine.resolve, mine.reject).finally(leave);
  }
}
