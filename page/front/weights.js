// A model's tensors by name, out of its safetensors file: in parts where the server gives parts, checked against the
// hashes that page.json tells, and kept for the next visit where the browser keeps things.

import { fetched } from "./fetched.js";

// The file is read in whole blocks of this size. The first holds the header and, in most files, the small tensors behind
// it.
const BLOCK = 2 ** 18;
const MOST_HEADER_BYTES = 1e6;

const BYTES_OF = { F64: 8, F32: 4, F16: 2, BF16: 2 };

const CACHE = "latent-faces-weights";

export class Weights {
  #first = null;
  #whole = null;
  #version = null;
  #header = null;

  /**
   * `about` is a model's in page.json, {name, weights: {url, size, blocks}}: the url changes when the file does, `blocks`
   * are the SHA-256 of each block in hexadecimal digits.
   */
  constructor({ name, weights }, base) {
    this.name = name;
    this.size = weights.size;
    this.blocks = weights.blocks;
    this.url = new URL(weights.url, base).href;
  }

  /**
   * Map of each name to {type: "F16", shape: [100, 256], bytes: Uint8Array}.
   * `progress` is called with the bytes that are there, and how many there will be.
   */
  async tensors(names, progress = () => {}) {
    this.#header ??= this.#readHeader();
    const { start, entries } = await this.#header.catch((error) => {
      this.#header = null; // So that it can be tried again.
      throw error;
    });
    const places = names.map((name) => this.#place(name, entries, start)).sort((a, b) => a.from - b.from);
    const spans = [];
    for (const { from, to } of places) {
      const last = spans.at(-1);
      if (last && from <= last.to + BLOCK) last.to = Math.max(last.to, to);
      else spans.push({ from, to });
    }
    const total = spans.reduce((sum, { from, to }) => sum + to - from, 0);
    let before = 0;
    for (const span of spans) {
      const { from, to } = span;
      span.bytes = await this.#read(from, to, (done) => progress(before + Math.min(done, to - from), total));
      before += to - from;
      progress(before, total);
    }
    return new Map(
      places.map(({ name, type, shape, from, to }) => {
        const span = spans.find((span) => span.from <= from && to <= span.to);
        return [name, { type, shape, bytes: span.bytes.subarray(from - span.from, to - span.from) }];
      }),
    );
  }

  async #readHeader() {
    if (!(this.size >= 8)) throw this.#damaged("it is empty");
    const length = Number(new DataView((await this.#read(0, 8)).slice().buffer).getBigUint64(0, true));
    if (length > Math.min(MOST_HEADER_BYTES, this.size - 8)) throw this.#damaged("its header is too long");
    let entries = null;
    try {
      entries = JSON.parse(new TextDecoder().decode(await this.#read(8, 8 + length)));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    if (!entries || typeof entries !== "object") throw this.#damaged("its header is no JSON object");
    const spans = Object.entries(entries).map(([name, entry]) => [name, ...(entry?.data_offsets ?? [])]);
    spans.sort((a, b) => a[1] - b[1] || a[2] - b[2]);
    spans.forEach(([name, from], i) => {
      if (i && from < spans[i - 1][2]) throw this.#damaged(`${spans[i - 1][0]} and ${name} overlap`);
    });
    return { start: 8 + length, entries };
  }

  #place(name, entries, start) {
    const { dtype: type, shape, data_offsets: offsets } = (Object.hasOwn(entries, name) && entries[name]) || {};
    if (!type) throw this.#damaged(`it has no ${name}`);
    const [from, to] = whole(offsets) && offsets.length === 2 ? offsets : [0, -1];
    const numbers = whole(shape) ? shape.reduce((product, size) => product * size, 1) : NaN;
    if (to - from !== numbers * BYTES_OF[type] || start + to > this.size) {
      throw this.#damaged(`${name} is not where its header says`);
    }
    return { name, type, shape, from: start + from, to: start + to };
  }

  // The bytes between two places. `progress` is called with how many of them, and of some around them, are there.
  async #read(from, to, progress = () => {}) {
    const end = Math.min(BLOCK, this.size);
    this.#first ??= await this.#checked(0, end, () => {});
    if (to <= end) return this.#first.subarray(from, to);
    const [first, last] = [Math.floor(from / BLOCK) * BLOCK, Math.min(Math.ceil(to / BLOCK) * BLOCK, this.size)];
    if (first) return (await this.#checked(first, last, progress)).subarray(from - first, to - first);
    const bytes = new Uint8Array(to - from);
    bytes.set(this.#first.subarray(from));
    bytes.set((await this.#checked(end, last, progress)).subarray(0, to - end), end - from);
    return bytes;
  }

  // Whole blocks that are what page.json says.
  async #checked(from, to, progress) {
    const key = `${this.url}${this.url.includes("?") ? "&" : "?"}bytes=${from}-${to}`;
    const kept = this.#whole ? null : await remembered(key);
    if (kept?.length === to - from && (await this.#isRight(kept, from))) return kept;
    // Damaged ones may be in the browser's own cache, too.
    for (const cache of ["default", "reload"]) {
      const bytes = await this.#fetch({ from, to, size: this.size }, cache, progress);
      if (!(await this.#isRight(bytes, from))) continue;
      await remember(key, bytes);
      return bytes;
    }
    throw this.#changed();
  }

  async #fetch(part, cache, progress) {
    if (this.#whole && cache === "default") return this.#whole.subarray(part.from, part.to);
    const what = `The weights of the ${this.name}`;
    const { bytes, version, isWhole } = await fetched(this.url, { what, part, cache, progress });
    // The hashes tell as much, but browsers compute them only for pages that come by HTTPS.
    if (!isWhole && (this.#version ??= version) !== version) throw this.#changed();
    if (isWhole) this.#whole = bytes;
    return isWhole ? bytes.subarray(part.from, part.to) : bytes;
  }

  async #isRight(bytes, from) {
    if (!globalThis.crypto?.subtle) return true;
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const hash = await crypto.subtle.digest("SHA-256", bytes.subarray(at, at + BLOCK));
      const digits = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (digits !== this.blocks[(from + at) / BLOCK]) return false;
    }
    return true;
  }

  #damaged(why) {
    return new Error(`The weights of the ${this.name} are damaged: ${why}.`);
  }

  #changed() {
    this.#first = this.#whole = this.#version = this.#header = null;
    const sentence = "came damaged, or have changed since this page was opened. Load the page again.";
    return new Error(`The weights of the ${this.name} ${sentence}`);
  }
}

/** A tensor's numbers as float32, whatever they are stored as. */
export function float32({ type, bytes }) {
  const { buffer } = bytes.slice(); // Aligned, which a part of a file is not.
  if (type === "F32") return new Float32Array(buffer);
  if (type === "F64") return new Float32Array(new Float64Array(buffer));
  const words = new Uint16Array(buffer);
  if (type === "BF16") return new Float32Array(Uint32Array.from(words, (word) => word << 16).buffer);
  halves ??= Float32Array.from({ length: 65536 }, (_, word) => half(word));
  const numbers = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) numbers[i] = halves[words[i]];
  return numbers;
}

let halves = null;

function half(word) {
  const exponent = (word >> 10) & 31;
  const fraction = word & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return (word >> 15 ? -1 : 1) * (exponent < 31 ? size : fraction ? NaN : Infinity);
}

const whole = (numbers) => Array.isArray(numbers) && numbers.every((n) => Number.isSafeInteger(n) && n >= 0);

// There is no Cache Storage without a secure context, nor where the visitor forbids it, and it may be full.
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
    const cache = await caches.open(CACHE);
    const { pathname, searchParams } = new URL(key);
    for (const request of await cache.keys()) {
      const other = new URL(request.url);
      const isOlder = other.pathname === pathname && other.searchParams.get("v") !== searchParams.get("v");
      if (isOlder) await cache.delete(request);
    }
    await cache.put(key, new Response(bytes));
  } catch {
    // It is loaded again next time.
  }
}
