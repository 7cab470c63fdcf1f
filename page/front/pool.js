// Workers that run networks. One that has run a network before is quick; one that has not takes up to a hundred times as
// long. So only those that have get questions, and the others are made ready one by one while nothing is asked.

// Nothing is asked for so many milliseconds before another worker is made ready.
const IDLE = 300;

export class Pool {
  #script;
  #runtime;
  #hands = [];
  #most;
  #networks = new Map(); // What a worker is sent of each by its name, the last that was asked at the end.
  #queue = [];
  #timer;
  #end = ""; // Why no worker is left.
  #ended;

  /** `script` is a worker's file; `runtime` what it is sent first; `ended` is told why once no worker is left. */
  constructor(script, runtime, ended) {
    this.#script = new URL(script, import.meta.url);
    this.#runtime = runtime;
    this.#ended = ended;
    const isPhone = matchMedia("(pointer: coarse)").matches && (navigator.deviceMemory ?? 4) <= 4;
    this.#most = isPhone ? 1 : Math.max(1, Math.min(4, navigator.hardwareConcurrency ?? 1));
  }

  /** How many workers are quick at a network: at least the one that has to be. */
  size(name) {
    return Math.max(1, this.#hands.filter((hand) => hand.names.has(name)).length);
  }

  /** Make a network known, before it is asked: `opening` is what a worker needs to run it. */
  add(name, opening) {
    this.#networks.set(name, opening);
  }

  /** A worker's answer to a question about a network; null where `isWanted` says no before it is asked. */
  ask(name, question, isWanted = () => true) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ name, question, isWanted, resolve, reject });
      this.#next();
    });
  }

  #next() {
    clearTimeout(this.#timer);
    this.#queue = this.#queue.filter((asked) => asked.isWanted() || void asked.resolve(null));
    for (const asked of [...this.#queue]) {
      const hand = this.#handFor(asked.name);
      if (!hand) continue;
      this.#queue.splice(this.#queue.indexOf(asked), 1);
      this.#give(hand, asked);
    }
    if (this.#end) this.#queue.splice(0).forEach(({ reject }) => reject(new Error(this.#end)));
    if (!this.#queue.length && !this.#hands.some((hand) => hand.isBusy)) {
      this.#timer = setTimeout(() => this.#prepare(), IDLE);
    }
  }

  // A worker without work that knows a network, or any where none knows it.
  #handFor(name) {
    const knowing = this.#hands.filter((hand) => hand.names.has(name) || hand.opening === name);
    if (knowing.length) return knowing.find((hand) => !hand.isBusy);
    if (!this.#hands.length && !this.#end) this.#hands.push(new Hand(this.#script, this.#runtime));
    return this.#hands.find((hand) => !hand.isBusy);
  }

  async #give(hand, asked) {
    const { name, question, resolve, reject } = asked;
    const opening = this.#networks.get(name);
    this.#networks.delete(name);
    this.#networks.set(name, opening);
    const answer = await hand.ask(name, opening, question);
    if (answer.isGone || answer.isMemory) {
      this.#dismiss(hand, answer);
      this.#queue.unshift(asked);
    } else if (answer.complaint)
      reject(new Error(`The ${name} cannot be run in this browser: ${answer.complaint.replace(/\.?$/, ".")}`));
    else resolve(answer);
    this.#next();
  }

  // One network for one worker: the first that lacks one, which may be a new one.
  async #prepare() {
    const names = [...this.#networks.keys()].reverse();
    const lacks = (hand) => names.find((name) => !hand.names.has(name));
    let hand = this.#hands.find(lacks);
    if (!hand && this.#hands.length && this.#hands.length < this.#most) {
      hand = new Hand(this.#script, this.#runtime);
      this.#hands.push(hand);
    }
    const name = hand && lacks(hand);
    if (!name) return;
    const answer = await hand.ask(name, this.#networks.get(name));
    if (answer.complaint) this.#dismiss(hand, answer);
    this.#next();
  }

  // No more workers than those that are left will do.
  #dismiss(hand, { isGone, complaint }) {
    hand.worker.terminate();
    this.#hands = this.#hands.filter((other) => other !== hand);
    this.#most = this.#hands.length;
    if (this.#most) return;
    this.#end = isGone ? complaint : "This browser has no memory left to draw faces.";
    this.#ended(this.#end);
  }
}

class Hand {
  isBusy = false;
  opening = null; // The name of the network that it is about to know.
  names = new Set(); // Of those that it knows.

  constructor(script, runtime) {
    this.worker = new Worker(script, { type: "module" });
    this.worker.postMessage({ runtime });
    this.gone = new Promise((resolve) => {
      const complaint = "This browser cannot run what draws the faces.";
      this.worker.onerror = () => resolve({ complaint, isGone: true });
    });
  }

  /** The worker's answer, or {complaint, isMemory, isGone}. Without a question it only opens the network. */
  async ask(name, opening, question = null) {
    this.isBusy = true;
    this.opening = this.names.has(name) ? null : name;
    const answer = new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.postMessage({ name, opening: this.opening && opening, question });
    });
    // What cannot be posted is too large for the memory that is left.
    const unsent = (error) => ({ complaint: error.message, isMemory: true });
    const first = await Promise.race([answer, this.gone]).catch(unsent);
    if (!first.complaint) this.names.add(name);
    this.opening = null;
    this.isBusy = false;
    return first;
  }
}
