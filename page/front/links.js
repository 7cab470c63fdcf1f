// The address of the page says what is on it.

import { check } from "./values.js";

// What a link asks for: its tab, the values by name, and a sentence for each that cannot be had.
export function follow(search, tabs) {
  const query = new URLSearchParams(search);
  const experiment = query.get("tab") === "experiment"; // A tab once, now a preset.
  if (experiment) query.set("mean", "-3");
  const tab = tabs.find((tab) => tab.name === query.get("tab")) ?? tabs[0];
  const values = {};
  const problems = [];
  for (const control of tab.controls) {
    if (!query.has(control.name) || control.kind === "photograph") continue;
    try {
      values[control.name] = check(control, query.getAll(control.name).at(-1), `The link's ${control.name}`);
    } catch (error) {
      problems.push(error.message);
    }
  }
  return { tab, values, problems };
}

let timer;

// Browsers allow so many changes of the address in a while, fewer than a dragged slider makes.
export function write(tab, tabs) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    // Parameters that are not of this page stay as they are.
    const query = new URLSearchParams(location.search);
    for (const { controls } of tabs) for (const { name } of controls) query.delete(name);
    query.set("tab", tab.name);
    for (const { name, value, kind } of tab.controls) {
      if (kind !== "photograph" && tab.settings[name] !== value) query.set(name, tab.settings[name]);
    }
    history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
    // On a Space this page lies inside another, whose address people see and copy; no other site gets the message.
    if (window.parent !== window) {
      query.delete("__sign"); // Lets its bearer see a private Space.
      window.parent.postMessage({ queryString: `${query}`, hash: location.hash }, "https://huggingface.co");
    }
  }, 200);
}
