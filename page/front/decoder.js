// Runs the networks in workers of the visitor's browser: decoders, encoders and the face detector.

import { fetched, json, once } from "./fetched.js";
import { MOST } from "./kernel/decoder.js";
import { Pool } from "./pool.js";
import { FACE_BYTES } from "./views.js";

// A worker gets at least so many faces. Autoencoders spend their time on reading the weights of their fully connected
// layers, which takes as long for one face as for eight.
const FEWEST = { autoencoder: 8 };
const FEWEST_OTHERS = 3;

// These kinds of models load before others.
const BEST = ["attribute-generator", "perceptual-autoencoder"];

// After so many milliseconds the next network begins to load beside the one that is loading.
const LONG = 2000;

const here = (file) => new URL(file, import.meta.url);

/**
 * Dispatches "status" whenever `status` changes. A network is a Model or a graph, {name, graph, weights}: its name, the
 * name of its file in graphs/, and the Weights that it takes tensors from, if any.
 */
export class Decoder extends EventTarget {
  #turn = Promise.resolve(); // Resolves when the next network may load.
  #bytes = new Map(); // {done, total} of each download, by name.
  #opened = new Map(); // Promises that a worker can run a network, by its name.
  #complaints = new Map(); // Sentences on networks that cannot be had, by name.
  #loading = 0; // Networks.
  #promised = new Map(); // Promises of the kernel and of ONNX Runtime.
  #pool = new Pool();

  constructor() {
    super();
    addEventListener("online", () => {
      this.#complaints.clear();
      this.#tell();
    });
  }

  /** {state: "idle", "loading", "ready" or "failed"; loaded, total: bytes; reason: a sentence, or ""} */
  get status() {
    const sum = (key) => [...this.#bytes.values()].reduce((sum, bytes) => sum + bytes[key], 0);
    const [reason = ""] = this.#complaints.values();
    const state = this.#loading ? "loading" : reason ? "failed" : this.#opened.size ? "ready" : "idle";
    return { state, loaded: sum("done"), total: sum("total"), reason };
  }

  /** Begins to load models, the best first. */
  want(models) {
    const rank = ({ kind }) => BEST.indexOf(kind) >>> 0; // -1 becomes the greatest.
    for (const model of models.toSorted((a, b) => rank(a) - rank(b))) this.#open(model).catch(() => {});
  }

  /** Returns the faces of latents (count * latentSize) as a Uint8ClampedArray (count * 64 * 64 * 4), RGBA. */
  async decode(model, z, signal = null) {
    await this.#open(model);
    const size = model.latentSize;
    const count = z.length / size;
    const faces = new Uint8ClampedArray(count * FACE_BYTES);
    // Each worker gets the same number of parts.
    const workers = this.#pool.size(model.name);
    const share = Math.ceil(count / (Math.ceil(count / (MOST * workers)) * workers));
    const step = Math.max(share, FEWEST[model.kind] ?? FEWEST_OTHERS);
    const decodePart = async (first) => {
      const part = z.slice(first * size, (first + step) * size);
      const { pixels } = await this.#pool.ask(model.name, { z: part, count: part.length / size }, signal);
      faces.set(pixels, first * FACE_BYTES);
    };
    await Promise.all(Array.from({ length: Math.ceil(count / step) }, (_, part) => decodePart(part * step)));
    signal?.throwIfAborted();
    return faces;
  }

  /** Returns a graph's outputs by their names, {data: Float32Array, shape} each. Inputs have the same form. */
  async run(graph, inputs) {
    await this.#open(graph);
    return (await this.#pool.ask(graph.name, { inputs })).outputs;
  }

  // Resolves once a worker can run the network.
  #open(network) {
    const { name } = network;
    return once(this.#opened, name, async () => {
      this.#complaints.delete(name);
      this.#loading += 1;
      this.#tell();
      try {
        await this.#load(network);
      } catch (error) {
        this.#complaints.set(name, error.message);
        throw error;
      } finally {
        this.#loading -= 1;
        this.#tell();
      }
    });
  }

  async #load(network) {
    if (!globalThis.WebAssembly) {
      throw new Error("This browser has no WebAssembly, so it shows only the pictures that came with the page.");
    }
    const { name, graph, about, latentSize } = network;
    const [runtime, { told, tensors }, file] = await Promise.all([
      once(this.#promised, graph ? "graphs" : "kernel", () => (graph ? this.#graphs() : this.#kernel())),
      graph
        ? this.#described(network, "graphs/shapes.json", graph, Object.keys)
        : this.#described(network, "kernel/decoders.json", about.kind, tensorsOf),
      graph && fetched(here(`graphs/${graph}.onnx`)),
    ]);
    if (graph && Object.entries(told).some(([tensor, shape]) => `${tensors.get(tensor).shape}` !== `${shape}`)) {
      throw new Error(`The ${name} has other sizes than the graph that a browser runs.`);
    }
    const opening = graph ? { graph: file.bytes } : { layers: told, latentSize };
    await this.#pool.open(name, { runtime, tensors, ...opening });
  }

  // Loads a network's description from a file, and the tensors that it names. A graph without `weights` has its own.
  async #described({ name, weights }, file, key, namesIn) {
    if (!weights) return { told: {}, tensors: new Map() };
    const all = await json(here(file));
    if (!Object.hasOwn(all, key)) throw new Error(`The ${name} has layers that a browser cannot compute.`);
    const load = () => weights.tensors(namesIn(all[key]), (...bytes) => this.#count(name, ...bytes));
    const loaded = this.#turn.then(load);
    const isOver = () => Promise.race([loaded.catch(() => {}), new Promise((resolve) => setTimeout(resolve, LONG))]);
    this.#turn = this.#turn.then(isOver);
    return { told: all[key], tensors: await loaded };
  }

  // Returns the compiled kernel.
  async #kernel() {
    const progress = (...bytes) => this.#count("", ...bytes);
    const load = async (file) => (await fetched(here(`kernel/${file}`), { progress })).bytes;
    const relaxed = await load("kernel-relaxed.wasm");
    return WebAssembly.compile(WebAssembly.validate(relaxed) ? relaxed : await load("kernel.wasm"));
  }

  // Returns ONNX Runtime as two Blobs, which workers share.
  async #graphs() {
    const progress = (...bytes) => this.#count("graphs", ...bytes);
    const [script, { bytes }] = await Promise.all([
      fetched(here("vendor/ort.wasm.bundle.min.js")),
      fetched(here("vendor/ort-wasm-simd-threaded.wasm.gz"), { progress }),
    ]);
    const binary = new Blob([bytes]);
    // If the server declared it as compressed, the browser has unpacked it.
    const unpacked = () => new Response(binary.stream().pipeThrough(new DecompressionStream("gzip"))).blob();
    return {
      script: new Blob([script.bytes], { type: "text/javascript" }),
      binary: bytes[0] === 0x1f ? await unpacked() : binary,
    };
  }

  #count(name, done, total) {
    this.#bytes.set(name, { done, total });
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new Event("status"));
  }
}

// Returns the names of the tensors that layers need.
function tensorsOf(layers) {
  const normalised = ({ norm }) => ["weight", "bias", "running_mean", "running_var"].map((of) => `${norm}.${of}`);
  return layers.flatMap((layer) => [
    `${layer.name}.weight`,
    ...(layer.norm ? normalised(layer) : [`${layer.name}.bias`]),
  ]);
}
