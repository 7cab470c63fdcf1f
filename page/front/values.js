// Checks what links and people write. The sentences are those of the page's endpoints (tests/shared_cases.py).

import { h } from "./dom.js";

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;

// Limits and the pattern of a recipe, from page.json.
let limits = null;

export function setLimits(constants) {
  limits = { ...constants, recipe: new RegExp(`^(?:${constants.recipe_pattern})$`) };
}

// Returns a value as it stands in a sentence.
export function said(value) {
  if (typeof value === "number") {
    return Math.abs(value) < 1e15 ? value.toLocaleString("en", { maximumFractionDigits: 10 }) : String(value);
  }
  const most = limits.most_shown_characters;
  const characters = Array.from(value, (character) => (UNPRINTABLE.test(character) ? "?" : character));
  return `"${characters.slice(0, most).join("")}${characters.length > most ? "…" : ""}"`;
}

// Returns a control's value from a text, or throws an error with a sentence.
export function check({ name, kind, least, most, step, choices }, text, what = `The ${name}`) {
  const refuse = (value, wanted) => {
    throw new Error(`${what} cannot be ${said(value)}: ${wanted}.`);
  };
  if (kind === "number") {
    const value = text.trim() === "" ? NaN : Number(text);
    if (!(least <= value && value <= most) || (step === 1 && value % 1)) {
      const wanted = step === 1 ? "a whole number" : "a number";
      refuse(Number.isFinite(value) ? value : text, `choose ${wanted} from ${said(least)} to ${said(most)}`);
    }
    return value;
  }
  if (kind === "choice" && !choices.includes(text)) {
    refuse(text, `choose ${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`);
  }
  if (most && (text.length > most || UNPRINTABLE.test(text))) {
    refuse(text, `write one line of text, of at most ${said(most)} characters`);
  }
  return text;
}

export const complaint = (text) => h("p.complaint", { role: "alert" }, text);

// Returns an attribute's name as people write it.
export const title = (name) => {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase() || name;
};

const folded = (name) => name.replaceAll("_", " ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");

// Reads a line such as "Smiling, no Eyeglasses, Young=0.5": {values by attributes' names, unknown: other items}.
export function readAttributes(line, model) {
  const most = model.discreteSize ? limits.most_bit : limits.most_attribute;
  const values = Object.create(null); // A name may be any word, even "constructor".
  const unknown = [];
  const known = new Map(model.best.toReversed().map((name) => [folded(name), name]));
  const find = (text) => (model.best.includes(text) ? text : known.get(folded(text)));
  for (const quoted of line.match(/(?:"(?:[^"]|"")*"|[^,"])+/g) ?? []) {
    const unquoted = quoted.trim().replace(/^"(.*)"$/s, (_, inner) => inner.replaceAll('""', '"'));
    const item = unquoted.trim();
    if (!item) continue;
    const [, head, number] = item.match(/^(.*)=([^=]*)$/s) ?? [];
    const value = number?.trim() ? Number(number) : NaN;
    if (find(item)) values[find(item)] = 1;
    else if (/^no /i.test(item) && find(item.slice(3))) values[find(item.slice(3))] = -1;
    else if (head && find(head) && Math.abs(value) <= most) values[find(head)] = value;
    else unknown.push(item);
  }
  return { values, unknown };
}

export function writeAttributes(values) {
  const items = Object.entries(values).map(([name, value]) => {
    const written = value === 1 ? name : value === -1 ? `no ${name}` : `${name}=${value}`;
    return /[",]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
  });
  return items.join(", ");
}

// Reads a recipe such as "7/3 temperature=0.5": {seed, face, temperature, bits, attributes}.
export function readRecipe(text) {
  const found = text.trim().match(limits.recipe)?.groups;
  if (!found) throw new Error(`${said(text)} is no face: write a seed, such as 7, or a face of a seed, such as 7/3.`);
  const { most_seed: mostSeed, most_faces: mostFaces, most_temperature: mostTemperature } = limits;
  const { bits = "", attributes = "" } = found;
  const [seed, face, temperature] = [found.seed, found.face ?? 1, found.temperature ?? 1].map(Number);
  if (!(seed <= mostSeed && face >= 1 && face <= mostFaces && temperature <= mostTemperature)) {
    const known = `seeds go to ${said(mostSeed)}, faces from 1 to ${mostFaces}, temperatures to ${mostTemperature}`;
    throw new Error(`${said(text)} is no face: ${known}.`);
  }
  return { seed, face, temperature, bits, attributes };
}

export function writeRecipe({ seed, face, temperature, bits, attributes }) {
  const parts = { temperature: temperature === 1 ? "" : temperature, bits, attributes };
  const written = Object.entries(parts).filter(([, value]) => value !== "");
  return [`${seed}/${face}`, ...written.map(([name, value]) => `${name}=${value}`)].join(" ");
}

// Returns a sentence on attributes that the model does not have, or "".
export const attributesProblem = ({ said }, unknown) =>
  unknown.length ? `The ${said} knows no ${unknown.slice(0, 5).join(", ").slice(0, 200)}.` : "";

// Throws an error with a sentence if held bits or attributes do not fit the model.
export function checkFits(model, { bits, attributes = "" }) {
  const count = model.discreteSize;
  if (bits && count && (bits.length !== count || /[^-+.]/.test(bits))) {
    throw new Error(`The bits cannot be ${said(bits)}: write +, - or . for each of the ${count}, or nothing.`);
  }
  const problem = model.best.length && attributesProblem(model, readAttributes(attributes, model).unknown);
  if (problem) throw new Error(problem);
}

// Resolves to latents (count * latentSize) of a seed's first faces. Temperature multiplies the prior's deviation.
export async function sample(model, recipe, count) {
  checkFits(model, recipe);
  await model.ready();
  const { seed, temperature, bits, attributes } = recipe;
  let z = model.sample(seed, count, { variance: model.priorVariance * temperature ** 2 });
  if (bits && model.discreteSize) z = model.holdBits(z, bits);
  return attributes && model.best.length ? model.withAttributes(z, readAttributes(attributes, model).values) : z;
}

// Resolves to the latent of a recipe's face.
export const latentOf = async (model, recipe) => (await sample(model, recipe, recipe.face)).slice(-model.latentSize);
