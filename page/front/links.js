// The address of the page says what is on it.

import { check } from "./values.js";

// Names of controls whose values a link carries.
const linked = (tab) => tab.controls.filter(({ kind }) => kind !== "photograph");

// What each of a tab's controls is for who comes without a link.
export const firstOf = (tab) =>
  Object.fromEntries(tab.controls.map(({ name, value, first }) => [name, first ?? value]));

// What a link asks for: its tab, all of the tab's values, and a sentence for each that cannot be had. A link that says
// nothing of a tab shows it as it is first; in one that does, what is left out has its value of always.
export function follow(search, tabs) {
  const query = new URLSearchParams(search);
  const experiment = query.get("tab") === "experiment"; // A tab once, now a button.
  if (experiment) query.set("mean", "-3");
  const name = experiment ? "out-of-distribution" : query.get("tab");
  // Links of once named no tab where they led to the one that was first: it is the one of which they say most.
  const most = Math.max(...tabs.map((tab) => said(tab, query)));
  const tab = tabs.find((tab) => tab.name === name) ?? tabs.find((tab) => said(tab, query) === most);
  const always = Object.fromEntries(tab.controls.map(({ name, value }) => [name, value]));
  const [given, problems] = [{}, []];
  for (const control of linked(tab)) {
    if (!query.has(control.name)) continue;
    try {
      given[control.name] = check(control, query.getAll(control.name).at(-1), `The link's ${control.name}`);
    } catch (error) {
      problems.push(error.message);
    }
  }
  for (const [name, problem] of Object.entries(tab.vet({ ...always, ...given }))) {
    delete given[name];
    problems.push(problem);
  }
  return { tab, problems, values: Object.keys(given).length ? { ...always, ...given } : firstOf(tab) };
}

const said = (tab, query) => linked(tab).filter(({ name }) => query.has(name)).length;

// What a link to a tab with these settings says.
export function linkOf({ name, controls, settings }, query = new URLSearchParams()) {
  query.set("tab", name);
  const first = firstOf({ controls });
  const isFirst = linked({ controls }).every(({ name }) => settings[name] === first[name]);
  if (isFirst) return query;
  const told = linked({ controls }).filter(({ name, value }) => settings[name] !== value);
  for (const { name } of told.length ? told : linked({ controls }).slice(0, 1)) query.set(name, settings[name]);
  return query;
}

let timer;
let pending = null;

// Write the address after a while: browsers allow so many changes of it, fewer than a dragged slider makes. A tab that
// is opened is a step of the history, written at once.
export function write(tab, tabs, { isStep = false } = {}) {
  if (isStep) {
    flush();
    put("pushState", tab, tabs);
  } else {
    clearTimeout(timer);
    pending = [tab, tabs];
    timer = setTimeout(flush, 200);
  }
}

function flush() {
  if (pending) put("replaceState", ...pending);
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
  linkOf(tab, query);
  history[way](history.state, "", `${location.pathname}?${query}${location.hash}`);
  // On a Space this page lies inside another, whose address people see and copy; no other site gets the message.
  if (window.parent !== window) {
    query.delete("__sign"); // Lets its bearer see a private Space.
    window.parent.postMessage({ queryString: `${query}`, hash: location.hash }, "https://huggingface.co");
  }
}
