// Workers that run networks. A network's first run in a worker takes up to a hundred times as long as the next. So only
// workers that have run it get questions about it. The others learn it one by one while there is nothing to do.

// Milliseconds without a request before another worker learns a network.
const IDLE = 300;

export class Pool {
  #workers = [];
  #openings = new Map(); // What a worker needs to run each network, by its name.
  #requests = [];
  #timer;
  #most; // Workers.

  constructor() {
    const isPhone = matchMedia("(pointer: coarse)").matches && (navigator.deviceMemory ?? 4) <= 4;
    this.#most = isPhone ? 1 : Math.max(1, Math.min(4, navigator.hardwareConcurrency ?? 1));
  }

  /** Returns how many workers can run a network, at least one. */
  size(name) {
    return Math.max(1, this.#workers.filter((worker) => worker.names.has(name)).length);
  }

  /** Resolves once a worker has learned a network. `opening` is what it needs to run it. */
  open(name, opening) {
    this.#openings.set(name, opening);
    return this.ask(name, null);
  }

  /** Resolves to a worker's answer to a question. Without a question, a worker only learns the network. */
  ask(name, question, signal = null) {
    return new Promise((resolve, reject) => {
      this.#requests.push({ name, question, signal, resolve, reject });
      this.#assign();
    });
  }

  #assign() {
    clearTimeout(this.#timer);
    this.#requests = this.#requests.filter((request) => {
      const isAborted = request.signal?.aborted;
      const worker = isAborted ? null : this.#workerFor(request.name);
      if (isAborted) request.reject(request.signal.reason);
      else if (worker) this.#run(worker, request);
      return !isAborted && !worker;
    });
    if (!this.#requests.length && !this.#workers.some((worker) => worker.isBusy)) {
      this.#timer = setTimeout(() => this.#prepare(), IDLE);
    }
  }

  // Returns an idle worker that knows the network, or any idle one if none knows it.
  #workerFor(name) {
    const knowing = this.#workers.filter((worker) => worker.names.has(name));
    if (!this.#workers.length) this.#workers.push(new NetworkWorker());
    return (knowing.length ? knowing : this.#workers).find((worker) => !worker.isBusy);
  }

  async #run(worker, { name, question, resolve, reject }) {
    const opening = worker.names.has(name) ? null : this.#openings.get(name);
    const answer = await worker.ask(name, opening, question);
    if (answer.isLost) this.#workers = this.#workers.filter((other) => other !== worker);
    if (answer.complaint && opening) this.#openings.delete(name); // So that nobody tries it again unasked.
    if (answer.complaint) reject(new Error(answer.complaint));
    else resolve(answer);
    this.#assign();
  }

  // Lets a worker, perhaps a new one, learn a network.
  #prepare() {
    const names = [...this.#openings.keys()].reverse();
    const lacking = (worker) => names.find((name) => !worker.names.has(name));
    let worker = this.#workers.find(lacking);
    if (!worker && this.#workers.length && this.#workers.length < this.#most) {
      worker = new NetworkWorker();
      this.#workers.push(worker);
    }
    const ignore = () => {};
    if (worker) this.#run(worker, { name: lacking(worker), question: null, resolve: ignore, reject: ignore });
  }
}

class NetworkWorker {
  isBusy = false;
  names = new Set(); // The networks that it has learned, or is learning.

  constructor() {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    const complaint = "This browser cannot run the networks.";
    this.lost = new Promise((resolve) => (this.worker.onerror = () => resolve({ complaint, isLost: true })));
  }

  /** Returns the worker's answer, or {complaint: a sentence, isLost: whether the worker is dead}. */
  async ask(name, opening, question) {
    this.isBusy = true;
    const answer = new Promise((resolve) => {
      this.worker.onmessage = ({ data }) => resolve(data);
      this.worker.postMessage({ name, opening, question });
    });
    this.names.add(name);
    // Posting fails if there is too little memory for a copy.
    const first = await Promise.race([answer, this.lost]).catch(() => ({ complaint: "it has too little memory" }));
    this.isBusy = false;
    if (!first.complaint || first.isLost) return first;
    this.names.delete(name);
    return { complaint: `The ${name} cannot be run in this browser: ${first.complaint.replace(/\.?$/, ".")}` };
  }
}
