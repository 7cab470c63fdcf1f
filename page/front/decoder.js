// Latents to faces: in workers of the visitor's own browser once it has what that takes, until then on the server.

// What one face is: 64 x 64 pixels, RGBA.
const FACE_BYTES = 4 * 64 * 64;

// Faces that a worker decodes at a time. Fewer are not worth a second worker: of the first autoencoders, whose work is
// in their fully connected layers, whose weights are read for one face as for eight; more make others wait.
const FEWEST = { autoencoder: 8 };
const FEWEST_OTHERS = 3;
const MOST = 16;

/** Tells "status" whenever `status` has changed. */
export class Decoder extends EventTarget {
  #begin;
  #begun = new Promise((resolve) => (this.#begin = resolve));
  #isStarted = false;
  #isOpening = false;
  #off = null; // The error for which nothing is decoded here.
  #pool = null;
  #local = new Map(); // For each model that was wanted: a promise that it can be decoded here.
  #last = this.#begun; // Of them, so that they load one after another.
  #ready = new Set();
  #reasons = new Map(); // Why one cannot.
  #bytes = new Map();
  #reason = "";

  /** `remote`, where there is a server: async (name, z, count) => Uint8Array, RGB. */
  constructor(models, base, remote = null) {
    super();
    this.models = models;
    this.base = base;
    this.remote = remote;
  }

  /** {state: "idle", "loading", "local" or "remote"; loaded, total: bytes; reason: a sentence where something failed} */
  get status() {
    const sum = (key) => [...this.#bytes.values()].reduce((sum, bytes) => sum + bytes[key], 0);
    const waiting = this.#local.size - this.#ready.size - this.#reasons.size;
    const isRefused = this.#off || (this.#reasons.size && this.#reasons.size === this.#local.size);
    const state = isRefused ? "remote" : !this.#isStarted ? "idle" : this.#isOpening || waiting ? "loading" : "local";
    return { state, loaded: sum("done"), total: sum("total"), reason: this.#reason };
  }

  /** Begin to load the runtime, and the models that are wanted, in that order. */
  start() {
    if (this.#isStarted) return;
    this.#isStarted = true;
    if (this.remote && navigator.connection?.saveData) {
      this.#off = new Error("The server draws the faces, since your browser asks to save data.");
      return this.#tell(this.#off.message);
    }
    this.#isOpening = true;
    this.#pool = this.#openPool();
    this.#pool
      .catch((error) => {
        this.#off = error;
        this.#tell(error.message);
      })
      .then(() => {
        this.#isOpening = false;
        this.#tell();
      });
    this.#begin();
    this.#tell();
  }

  /** Latents, `latentSize` numbers a face, to their faces: RGBA, 64 x 64 pixels a face, in one Uint8ClampedArray. */
  async decode(name, z) {
    const model = this.models.get(name);
    const count = z.length / model?.latentSize;
    if (!(Number.isInteger(count) && count > 0)) throw new Error(`These are no latents of the ${name}.`);
    const latents = z.slice();
    const local = this.#want(model);
    if (!this.remote) this.start();
    if (!this.remote || this.#ready.has(name)) {
      try {
        await local;
        return await this.#decodeHere(model, latents, count);
      } catch (error) {
        this.#refuse(model, error);
        if (!this.remote) throw error;
      }
    }
    return opaque(await this.remote(name, latents, count), count);
  }

  #want(model) {
    // Without a server there is only to try again.
    if (!this.#local.has(model.name) || (!this.remote && this.#reasons.delete(model.name))) {
      const local = this.#last.then(() => this.#open(model));
      this.#local.set(model.name, local);
      this.#last = local.then(
        () => {
          this.#ready.add(model.name);
          this.#tell();
        },
        (error) => this.#refuse(model, error),
      );
    }
    return this.#local.get(model.name);
  }

  async #open(model) {
    const { name, about } = model;
    if (this.#off) throw this.#off;
    const shapes = JSON.parse(new TextDecoder().decode(await fetched("graphs/shapes.json")))[about.architecture];
    if (!shapes || !about.graph) throw new Error(`The ${name} has no graph that a browser could run.`);
    const [pool, graph, tensors] = await Promise.all([
      this.#pool,
      fetched(new URL(about.graph, this.base)),
      model.weights.tensors(Object.keys(shapes), (...bytes) => this.#count(name, ...bytes)),
    ]);
    for (const [tensor, { shape }] of tensors) {
      if (`${shape}` === `${shapes[tensor]}`) continue;
      const sizes = `${tensor} is ${shape.join(" x ")} and not ${shapes[tensor].join(" x ")}`;
      throw new Error(`The ${name} has other sizes than the graph that a browser runs: ${sizes}.`);
    }
    pool.models.set(name, { graph, tensors });
    await this.#try(model, pool);
  }

  // One face, before any is shown.
  async #try(model, pool) {
    await model.ready();
    const z = model.sample(0, 1);
    const { pixels, isFinite } = await pool.decode(model, z);
    const isBlank = pixels.every((value, i) => i % 4 === 3 || value === pixels[0]);
    if (!isFinite || isBlank) throw new Error(`No face of the ${model.name} comes out in this browser.`);
    const theirs = await this.remote?.(model.name, z, 1).catch(() => null);
    // Two grey levels: either side may round to the other side of float32's own.
    if (theirs && opaque(theirs, 1).some((value, i) => Math.abs(value - pixels[i]) > 2)) {
      throw new Error(`Faces of the ${model.name} come out otherwise in this browser than on the server.`);
    }
  }

  async #decodeHere(model, z, count) {
    const pool = await this.#pool;
    const share = Math.max(FEWEST[model.kind] ?? FEWEST_OTHERS, Math.ceil(count / pool.size));
    const step = Math.min(MOST, share) * model.latentSize;
    const parts = [];
    for (let from = 0; from < z.length; from += step) parts.push(pool.decode(model, z.slice(from, from + step)));
    const faces = new Uint8ClampedArray(count * FACE_BYTES);
    let at = 0;
    for (const { pixels } of await Promise.all(parts)) {
      faces.set(pixels, at);
      at += pixels.length;
    }
    return faces;
  }

  async #openPool() {
    if (!globalThis.DecompressionStream) throw new Error("This browser is too old to draw the faces itself.");
    const file = await fetched("vendor/ort-wasm-simd-threaded.wasm.gz", (...bytes) => this.#count("", ...bytes));
    // Some servers declare it compressed, and the browser has it whole.
    if (new Uint8Array(file)[0] !== 0x1f) return new Pool(file);
    const whole = new Blob([file]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Pool(await new Response(whole).arrayBuffer());
  }

  #count(name, done, total) {
    this.#bytes.set(name, { done, total });
    this.#tell();
  }

  #refuse(model, error) {
    this.#ready.delete(model.name);
    this.#reasons.set(model.name, error.message);
    this.#tell(error.message);
  }

  #tell(reason = this.#reason) {
    this.#reason = reason;
    this.dispatchEvent(new Event("status"));
  }
}

// Workers, and questions in the order in which they come. One that fails for lack of memory, or dies, is left out.
class Pool {
  models = new Map(); // {graph, tensors} of each by its name.
  #queue = [];
  #end = ""; // Why no worker is left.

  constructor(wasm) {
    const isPhone = matchMedia("(pointer: coarse)").matches && (navigator.deviceMemory ?? 4) <= 4;
    const count = isPhone ? 1 : Math.max(1, Math.min(4, navigator.hardwareConcurrency ?? 1));
    this.hands = Array.from({ length: count }, () => new Hand(wasm));
  }

  get size() {
    return this.hands.length;
  }

  /** {pixels: Uint8ClampedArray, isFinite} */
  decode({ name, latentSize: size }, z) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ name, z, size, resolve, reject });
      this.#next();
    });
  }

  async #next() {
    if (!this.size) return this.#queue.splice(0).forEach(({ reject }) => reject(new Error(this.#end)));
    const idle = this.hands.filter((hand) => !hand.isBusy);
    if (!idle.length || !this.#queue.length) return;
    const question = this.#queue.shift();
    const { name, z, size, resolve, reject } = question;
    const hand = idle.find((hand) => hand.names.has(name)) ?? idle[0];
    const answer = await hand.ask({ name, z, size }, this.models.get(name));
    if (answer.isGone || answer.isMemory) {
      hand.worker.terminate();
      this.hands = this.hands.filter((other) => other !== hand);
      this.#queue.unshift(question);
      this.#end = answer.isGone ? answer.complaint : "This browser has no memory left to draw faces.";
    } else if (answer.complaint) reject(new Error(`The ${name} cannot be run in this browser: ${answer.complaint}`));
    else resolve(answer);
    this.#next();
  }
}

class Hand {
  isBusy = false;
  names = new Set(); // Of the models that it has.

  constructor(wasm) {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.postMessage({ wasm });
    this.gone = new Promise((resolve) => {
      const complaint = "This browser cannot run what draws the faces.";
      this.worker.onerror = () => resolve({ complaint, isGone: true });
    });
  }

  /** The worker's answer, or {complaint, isMemory, isGone}. */
  async ask(question, opening) {
    this.isBusy = true;
    const answer = new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.postMessage(this.names.has(question.name) ? question : { ...question, opening });
    });
    // What cannot be posted is too large for the memory that is left.
    const unsent = (error) => ({ complaint: error.message, isMemory: true });
    const first = await Promise.race([answer, this.gone]).catch(unsent);
    if (!first.complaint) this.names.add(question.name);
    this.isBusy = false;
    return first;
  }
}

// RGB to RGBA, from the server.
export function opaque(rgb, count) {
  if (rgb.length !== count * 3 * 4096) throw new Error("The server's answer holds no faces.");
  const faces = new Uint8ClampedArray(count * FACE_BYTES).fill(255);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    faces[to] = rgb[from];
    faces[to + 1] = rgb[from + 1];
    faces[to + 2] = rgb[from + 2];
  }
  return faces;
}

// A file's bytes, of page/front unless the address says otherwise. `progress` as of weights.js.
async function fetched(address, progress = () => {}) {
  let why = "the server cannot be reached";
  try {
    const response = await fetch(new URL(address, import.meta.url));
    why = response.ok ? "the connection broke off" : `the server answers ${response.status}`;
    const total = Number(response.headers.get("Content-Length"));
    let done = 0;
    const count = (chunk, controller) => {
      done += chunk.length;
      progress(done, Math.max(done, total));
      controller.enqueue(chunk);
    };
    const counted = response.body.pipeThrough(new TransformStream({ transform: count }));
    if (response.ok) return await new Response(counted).arrayBuffer();
  } catch {
    // As below.
  }
  throw new Error(`What draws faces in your browser cannot be loaded: ${why}.`);
}
