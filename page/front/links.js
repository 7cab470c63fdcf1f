// The address of the page says what is on it.

import { check } from "./values.js";

// The controls that a link can set.
const linked = (controls) => controls.filter(({ kind }) => kind !== "photograph");

// What a link means that leaves a control out, and what is seen without a link, by the controls' names.
const usual = (controls) => Object.fromEntries(controls.map(({ name, value }) => [name, value]));
export const firstOf = (controls) =>
  Object.fromEntries(controls.map(({ name, value, first }) => [name, first ?? value]));

// What a link asks for: its tab, all of the tab's values, and a sentence for each that cannot be had. A link that says
// nothing of a tab shows it as it is first; in one that does, what is left out has its usual value.
export function follow(search, tabs) {
  const query = new URLSearchParams(search);
  const isExperiment = query.get("tab") === "experiment"; // A tab once, now a button.
  if (isExperiment) query.set("mean", "-3");
  const name = isExperiment ? "out-of-distribution" : query.get("tab");
  // Old links name no tab where they lead to the one that was first then: it is the one with most of their values.
  const count = ({ controls }) => linked(controls).filter(({ name }) => query.has(name)).length;
  const tab = tabs.find((tab) => tab.name === name) ?? tabs.toSorted((a, b) => count(b) - count(a))[0];
  const [given, problems] = [{}, []];
  for (const control of linked(tab.controls)) {
    if (!query.has(control.name)) continue;
    try {
      given[control.name] = check(control, query.getAll(control.name).at(-1), `The link's ${control.name}`);
    } catch (error) {
      problems.push(error.message);
    }
  }
  for (const [name, problem] of Object.entries(tab.vet({ ...usual(tab.controls), ...given }))) {
    delete given[name];
    problems.push(problem);
  }
  const isGiven = Object.keys(given).length > 0;
  return { tab, problems, values: isGiven ? { ...usual(tab.controls), ...given } : firstOf(tab.controls) };
}

// What a link to a tab with these settings says, beside what else is in a query.
export function linkOf({ name, controls }, settings, query = new URLSearchParams()) {
  query.set("tab", name);
  const all = linked(controls);
  const first = firstOf(controls);
  if (all.every(({ name }) => settings[name] === first[name])) return query;
  const changed = all.filter(({ name, value }) => settings[name] !== value);
  for (const { name } of changed.length ? changed : all.slice(0, 1)) query.set(name, settings[name]);
  return query;
}

// Browsers allow so many changes of the address, fewer than a dragged slider makes: it is written after a while.
const WHILE = 200;
let timer;
let pending = null;

export function write(tab, tabs, { isStep = false } = {}) {
  if (isStep) pending?.();
  forget();
  pending = () => put(isStep ? "pushState" : "replaceState", tab, tabs);
  if (isStep) flush();
  else timer = setTimeout(flush, WHILE);
}

function flush() {
  pending();
  forget();
}

// What was to be written is no longer so.
export function forget() {
  clearTimeout(timer);
  pending = null;
}

function put(way, tab, tabs) {
  // Parameters that are not of this page stay as they are.
  const query = new URLSearchParams(location.search);
  for (const { controls } of tabs) for (const { name } of controls) query.delete(name);
  linkOf(tab, tab.settings, query);
  history[way](history.state, "", `${location.pathname}?${query}${location.hash}`);
  // On a Space this page lies inside another, whose address people see and copy; no other site gets the message.
  if (window.parent !== window) {
    query.delete("__sign"); // Lets its bearer see a private Space.
    window.parent.postMessage({ queryString: `${query}`, hash: location.hash }, "https://huggingface.co");
  }
}
