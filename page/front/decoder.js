// Latents to faces, and whatever else a network is asked, in workers of the visitor's own browser.

import { fetched } from "./fetched.js";
import { Pool } from "./pool.js";

// What one face is: 64 x 64 pixels, RGBA.
const FACE_BYTES = 4 * 64 * 64;

// Faces that a worker decodes at a time. Fewer are not worth a second worker: of the first autoencoders, whose work is
// in their fully connected layers, whose weights are read for one face as for eight; more make others wait.
const FEWEST = { autoencoder: 8 };
const FEWEST_OTHERS = 3;
const MOST = 16;

// Faces that are kept, lest they be decoded again: 16 MB.
const KEPT = 1024;

// Whose weights come first where several are wanted.
const BEST = ["attribute-generator", "perceptual-autoencoder"];

/** Tells "status" whenever `status` has changed, and "again" when what failed may do now. */
export class Decoder extends EventTarget {
  #line = new Line();
  #pool = null;
  #runtime = { done: 0, total: 0 };
  #networks = new Map(); // By name: {network, opened: a promise, isOpen, done, total: bytes, complaint}
  #newest = new WeakMap();
  #faces = new Map();

  constructor(models, base) {
    super();
    this.models = models;
    this.base = base;
    this.unable = unable();
    globalThis.addEventListener?.("online", () => this.#again());
  }

  /** {state: "idle", "loading", "ready", "failed" or "unable"; loaded, total: bytes; reason: a sentence where it failed} */
  get status() {
    const networks = [...this.#networks.values()];
    const sum = (key) => networks.reduce((sum, network) => sum + network[key], this.#runtime[key]);
    const complaint = networks.find(({ complaint }) => complaint)?.complaint;
    const isLoading = networks.some(({ isOpen, complaint }) => !isOpen && !complaint);
    const state = isLoading ? "loading" : complaint ? "failed" : networks.length ? "ready" : "idle";
    return {
      state: this.unable ? "unable" : state,
      loaded: sum("done"),
      total: sum("total"),
      reason: this.unable || complaint || "",
    };
  }

  /** Load models by their names, the best first. */
  want(names) {
    if (this.unable) return;
    for (const name of names) this.open(this.#decoderOf(this.models.get(name))).catch(() => {});
  }

  /**
   * Latents, `latentSize` numbers a face, to their faces: RGBA, 64 x 64 pixels a face, in one Uint8ClampedArray. Null
   * where a newer question of the same object, `by`, has come meanwhile.
   */
  async decode(name, z, { by } = {}) {
    const model = this.models.get(name);
    const count = z.length / model?.latentSize;
    if (!(Number.isInteger(count) && count > 0)) throw new Error(`These are no latents of the ${name}.`);
    return this.#supersede(by, (isWanted) => this.#decode(model, z.slice(), count, isWanted));
  }

  /**
   * What a graph answers to inputs by their names, each {data: Float32Array, shape}: outputs in the same form, or null as
   * `decode`. `network` is {name: its own, graph: address, as seen from here, weights: whose tensors it takes, if any}.
   */
  async run(network, inputs, { by } = {}) {
    return this.#supersede(by, async (isWanted) => {
      await this.open(network);
      const answer = await this.#pool.then((pool) => pool.ask(network.name, { inputs }, isWanted));
      return answer && answer.outputs;
    });
  }

  /** Load what a graph needs. */
  open(network) {
    const known = this.#networks.get(network.name);
    if (known && !known.complaint) return known.opened;
    const state = { network, isOpen: false, done: 0, total: 0, complaint: "" };
    const rank = BEST.indexOf(network.model?.kind);
    state.opened = this.#line
      .enter(rank < 0 ? BEST.length : rank, (moved) => this.#open(network, state, moved))
      .then(
        () => {
          state.isOpen = true;
          this.#tell();
        },
        (error) => {
          state.complaint = error.message;
          this.#tell();
          throw error;
        },
      );
    this.#networks.set(network.name, state);
    this.#tell();
    return state.opened;
  }

  async #open(network, state, moved) {
    if (this.unable) throw new Error(this.unable);
    const { name, graph, weights, model } = network;
    if (!graph) throw new Error(`The ${name} has no graph that a browser could run.`);
    const count = (done, total) => {
      moved();
      Object.assign(state, { done, total });
      this.#tell();
    };
    const [pool, content, tensors] = await Promise.all([
      (this.#pool ??= this.#openPool()),
      fetched(new URL(graph, import.meta.url)).then(({ bytes }) => bytes),
      weights ? this.#tensors(network, count) : new Map(),
    ]);
    pool.add(name, { graph: content, tensors });
    if (model) await this.#try(model, pool);
  }

  // Those that a graph takes, of the sizes that it takes.
  async #tensors({ name, graph, weights }, count) {
    const { bytes } = await fetched(new URL("graphs/shapes.json", import.meta.url));
    const shapes = JSON.parse(new TextDecoder().decode(bytes))[graph.match(/([^/]*)\.onnx$/)?.[1]];
    if (!shapes) throw new Error(`The ${name} has no graph that a browser could run.`);
    const tensors = await weights.tensors(Object.keys(shapes), count);
    for (const [tensor, { shape }] of tensors) {
      if (`${shape}` === `${shapes[tensor]}`) continue;
      const sizes = `${tensor} is ${shape.join(" x ")} and not ${shapes[tensor].join(" x ")}`;
      throw new Error(`The ${name} has other sizes than the graph that a browser runs: ${sizes}.`);
    }
    return tensors;
  }

  // One face, before any is shown.
  async #try(model, pool) {
    await model.ready();
    const { pixels, isFinite } = await pool.ask(model.name, question(model, model.sample(0, 1)));
    const isBlank = pixels.every((value, i) => i % 4 === 3 || value === pixels[0]);
    if (!isFinite || isBlank) throw new Error(`No face of the ${model.name} comes out in this browser.`);
  }

  #decoderOf(model) {
    const { name, weights, about } = model;
    return { name, model, weights, graph: about.graph && new URL(about.graph, this.base).href };
  }

  async #decode(model, z, count, isWanted) {
    const size = model.latentSize;
    const rows = Array.from({ length: count }, (_, i) => z.subarray(i * size, (i + 1) * size));
    const keys = rows.map((row) => `${model.name} ${String.fromCharCode(...new Uint16Array(row.slice().buffer))}`);
    const missing = keys.flatMap((key, i) => (this.#faces.has(key) ? [] : [i]));
    const found = new Map(keys.map((key) => [key, this.#faces.get(key)]));
    if (missing.length) {
      await this.open(this.#decoderOf(model));
      if (!isWanted()) return null;
      const pool = await this.#pool;
      const share = Math.ceil(missing.length / pool.size(model.name));
      const step = Math.min(MOST, Math.max(FEWEST[model.kind] ?? FEWEST_OTHERS, share));
      const parts = [];
      for (let at = 0; at < missing.length; at += step) parts.push(missing.slice(at, at + step));
      const decodePart = async (part) => {
        const latents = new Float32Array(part.length * size);
        part.forEach((i, to) => latents.set(rows[i], to * size));
        const answer = await pool.ask(model.name, question(model, latents), isWanted);
        if (!answer) return;
        part.forEach((i, at) => found.set(keys[i], answer.pixels.subarray(at * FACE_BYTES, (at + 1) * FACE_BYTES)));
      };
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

  async #openPool() {
    const count = (done, total) => {
      this.#runtime = { done, total };
      this.#tell();
    };
    try {
      const address = new URL("vendor/ort-wasm-simd-threaded.wasm.gz", import.meta.url);
      const { bytes } = await fetched(address, { progress: count });
      // Some servers declare it compressed, and the browser has it whole.
      const unpacked = () => new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const runtime = bytes[0] === 0x1f ? await new Response(unpacked()).arrayBuffer() : bytes.buffer;
      return new Pool("worker.js", runtime, (complaint) => this.#lose(complaint));
    } catch (error) {
      this.#pool = null; // So that it can be tried again.
      throw error;
    }
  }

  // All has to be opened anew.
  #lose(complaint) {
    this.#pool = null;
    for (const state of this.#networks.values()) Object.assign(state, { isOpen: false, complaint });
    this.#tell();
  }

  #again() {
    const failed = [...this.#networks.values()].filter(({ complaint }) => complaint);
    if (!failed.length) return;
    for (const { network } of failed) this.open(network).catch(() => {});
    this.dispatchEvent(new Event("again"));
  }

  #tell() {
    this.dispatchEvent(new Event("status"));
  }
}

const question = ({ latentSize }, z) => ({
  inputs: { z: { data: z, shape: [z.length / latentSize, latentSize] } },
  asPixels: true,
});

// Why this browser draws nothing, or "".
function unable() {
  const lacks = !globalThis.WebAssembly ? "has no WebAssembly" : !globalThis.DecompressionStream ? "is too old" : "";
  return lacks && `This browser ${lacks}, so it shows only the pictures that came with the page.`;
}

// Loads go one after another, the best first. One that gets nothing for a second lets the next begin.
class Line {
  #waiting = [];
  #moving = null;

  /** `load` is called with what it has to call whenever something came. */
  enter(rank, load) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rank, load, resolve, reject });
      queueMicrotask(() => this.#next()); // After all that are wanted at once.
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
