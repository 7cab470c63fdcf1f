// Keeps the page's address and its settings equal.

import { check } from "./values.js";

// Returns the controls that a link can set.
const linked = (controls) => controls.filter(({ kind }) => kind !== "photograph");

// Values by the controls' names: for controls that a link leaves out, and for a page without a link.
const usual = (controls) => Object.fromEntries(controls.map(({ name, value }) => [name, value]));
export const firstOf = (controls) =>
  Object.fromEntries(controls.map(({ name, value, first }) => [name, first ?? value]));

// Returns a link's tab, the values of all its controls, and a sentence for each impossible value. A link that sets none
// shows the tab as it is at first; one that sets some leaves the others at their usual values.
export function follow(search, tabs) {
  const query = new URLSearchParams(search);
  // A link without a tab shows the one that most of its values belong to.
  const count = ({ controls }) => linked(controls).filter(({ name }) => query.has(name)).length;
  const tab = tabs.find(({ name }) => name === query.get("tab")) ?? tabs.toSorted((a, b) => count(b) - count(a))[0];
  const [given, problems] = [{}, []];
  const attempt = (name, read) => {
    try {
      read();
    } catch (error) {
      delete given[name];
      problems.push(error.message);
    }
  };
  for (const control of linked(tab.controls).filter(({ name }) => query.has(name))) {
    const { name } = control;
    attempt(name, () => (given[name] = check(control, query.getAll(name).at(-1), `The link's ${name}`)));
  }
  for (const name of Object.keys(given)) attempt(name, () => tab.vet(name, { ...usual(tab.controls), ...given }));
  const isGiven = Object.keys(given).length > 0;
  return { tab, problems, values: isGiven ? { ...usual(tab.controls), ...given } : firstOf(tab.controls) };
}

// Adds a tab and its settings to a query, and returns it.
export function linkOf({ name, controls }, settings, query = new URLSearchParams()) {
  query.set("tab", name);
  const all = linked(controls);
  const first = firstOf(controls);
  if (all.every(({ name }) => settings[name] === first[name])) return query;
  const changed = all.filter(({ name, value }) => settings[name] !== value);
  for (const { name } of changed.length ? changed : all.slice(0, 1)) query.set(name, settings[name]);
  return query;
}

// Browsers limit changes of the address, and a dragged slider makes too many. So it is written after a while.
const WHILE = 200;
let timer;
let late = () => {}; // Writes what is waiting to be written.

export function write(tab, tabs, { isStep = false } = {}) {
  if (isStep) late();
  forget();
  if (isStep) return put("pushState", tab, tabs);
  late = () => put("replaceState", tab, tabs);
  timer = setTimeout(() => {
    late();
    forget();
  }, WHILE);
}

// Cancels what is waiting to be written.
export function forget() {
  clearTimeout(timer);
  late = () => {};
}

function put(way, tab, tabs) {
  // Parameters that do not belong to this page stay.
  const query = new URLSearchParams(location.search);
  for (const { controls } of tabs) for (const { name } of controls) query.delete(name);
  linkOf(tab, tab.settings, query);
  history[way](history.state, "", `${location.pathname}?${query}${location.hash}`);
  // A Space shows this page in a frame, and people copy the outer page's address. No other site gets the message.
  if (window.parent !== window) {
    query.delete("__sign"); // It opens a private Space to whoever has it.
    window.parent.postMessage({ queryString: `${query}`, hash: location.hash }, "https://huggingface.co");
  }
}
