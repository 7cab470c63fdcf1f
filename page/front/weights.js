// Reads tensors from a model's safetensors file. Fetches only the parts that it needs, if the server can; checks them
// against the hashes in page.json, and keeps them for the next visit.

import { fetched, once } from "./fetched.js";

// The file is read in whole blocks of this size. The first holds the header and often the small tensors.
const BLOCK = 2 ** 18;

const CACHE = "latent-faces-weights";

export class Weights {
  #promised = new Map(); // The promise of the header.
  #file; // Its bytes, of which some have been read.
  #isWhole = false; // Whether all have, since the server sends no parts.

  /**
   * `about` is a model's entry in page.json, {name, weights: {url, size, blocks}}. The url changes with the file;
   * `blocks` holds the SHA-256 of each block in hexadecimal digits.
   */
  constructor({ name, weights }, base) {
    this.name = name;
    this.blocks = weights.blocks;
    this.size = weights.size;
    this.url = new URL(weights.url, base).href;
  }

  /**
   * Returns a Map from each name to {type: "F16", shape: [100, 256], bytes: Uint8Array}.
   * Calls `progress` with the number of bytes that have arrived, and of all.
   */
  async tensors(names, progress = () => {}) {
    const { start, header } = await once(this.#promised, "header", () => this.#readHeader(progress));
    const places = names.map((name) => {
      if (!Object.hasOwn(header, name)) throw new Error(`The weights of the ${this.name} lack ${name}.`);
      const { dtype: type, shape, data_offsets: offsets } = header[name];
      const [from, to] = offsets.map((offset) => start + offset);
      return { name, type, shape, from, to };
    });
    const spans = this.#spansOf(places.toSorted((a, b) => a.from - b.from));
    const total = spans.reduce((sum, { from, to }) => sum + to - from, 0);
    let before = 0;
    for (const { from, to } of spans) {
      await this.#read(from, to, (done) => progress(Math.min(before + done, total), total));
      before += to - from;
      progress(before, total);
    }
    return new Map(
      places.map(({ name, type, shape, from, to }) => [name, { type, shape, bytes: this.#file.slice(from, to) }]),
    );
  }

  async #readHeader(progress) {
    this.#file ??= new Uint8Array(this.size);
    // A server that sends no parts sends all of the file here.
    await this.#read(0, Math.min(BLOCK, this.size), (done) => done > BLOCK && progress(done, this.size));
    const start = 8 + Number(new DataView(this.#file.buffer).getBigUint64(0, true));
    return { start, header: JSON.parse(new TextDecoder().decode(this.#file.subarray(8, start))) };
  }

  // Returns the blocks after the first that hold some places, those that lie close together as one.
  #spansOf(places) {
    const spans = [];
    for (const place of places) {
      const from = Math.max(BLOCK, Math.floor(place.from / BLOCK) * BLOCK);
      const to = Math.min(Math.ceil(place.to / BLOCK) * BLOCK, this.size);
      const last = spans.at(-1);
      if (last && from <= last.to + BLOCK) last.to = Math.max(to, last.to);
      else if (from < to) spans.push({ from, to });
    }
    return spans;
  }

  // Reads blocks from where they are kept, or from the server.
  async #read(from, to, progress) {
    const key = `${this.url.replace(/\?.*/, "")}?bytes=${from}-${to}`;
    const kept = this.#isWhole ? null : await remembered(key);
    if (kept?.length === to - from && (await this.#isRight(kept, from))) return this.#file.set(kept, from);
    if (!this.#isWhole) await this.#fetch(from, to, progress);
    await remember(key, this.#file.slice(from, to));
  }

  // Fetches blocks, once more if they are not right, since the browser's own cache may hold damaged ones.
  async #fetch(from, to, progress) {
    const what = `The weights of the ${this.name}`;
    for (const cache of ["default", "reload"]) {
      const part = { from, to, size: this.size };
      const { bytes, isWhole } = await fetched(this.url, { what, part, cache, progress });
      const at = isWhole ? 0 : from;
      if (!(await this.#isRight(bytes, at))) continue;
      this.#file.set(bytes, at);
      this.#isWhole = isWhole;
      return;
    }
    throw new Error(`${what} came damaged, or have changed since this page was opened. Load the page again.`);
  }

  // Returns whether blocks have the hashes of page.json. Browsers compute hashes only in secure contexts.
  async #isRight(bytes, from) {
    if (!globalThis.crypto?.subtle) return true;
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const hash = await crypto.subtle.digest("SHA-256", bytes.subarray(at, at + BLOCK));
      const digits = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (digits !== this.blocks[(from + at) / BLOCK]) return false;
    }
    return true;
  }
}

/** Returns a tensor's numbers as a Float32Array. */
export function float32({ type, bytes }) {
  const { buffer } = bytes.slice(); // A copy is aligned in memory.
  if (type === "F32") return new Float32Array(buffer);
  if (type === "F64") return new Float32Array(new Float64Array(buffer));
  const words = new Uint16Array(buffer);
  const bits = new Uint32Array(words.length);
  for (let i = 0; i < words.length; i++) {
    bits[i] = type === "BF16" ? words[i] << 16 : ((words[i] & 0x8000) << 16) | ((words[i] & 0x7fff) << 13);
  }
  const numbers = new Float32Array(bits.buffer);
  // The exponent of a half counts from -15, that of a float32 from -127. The highest says that it is no number.
  return type === "BF16" ? numbers : numbers.map((x) => (Math.abs(x) < 2 ** -96 ? x * 2 ** 112 : NaN));
}

// Cache Storage may be full, forbidden, or missing in an insecure context.
async function remembered(key) {
  try {
    const kept = await (await caches.open(CACHE)).match(key);
    return kept && new Uint8Array(await kept.arrayBuffer());
  } catch {
    return null;
  }
}

async function remember(key, bytes) {
  try {
    await (await caches.open(CACHE)).put(key, new Response(bytes));
  } catch {
    // It is loaded again next time.
  }
}
