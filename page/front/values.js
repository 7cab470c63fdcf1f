// What links and people write, checked; the sentences are those of the page's programs.

import { h } from "./dom.js";

const SAID = 40;

export function said(value) {
  if (value === null || value === undefined || value === "") return value === "" ? '""' : "empty";
  if (typeof value === "number") {
    return Math.abs(value) < 1e15 ? value.toLocaleString("en", { maximumFractionDigits: 10 }) : String(value);
  }
  const text = String(value).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
  return `"${text.slice(0, SAID)}${text.length > SAID ? "…" : ""}"`;
}

// A control's value from the text of a link or a field.
export function check(control, text, what = `The ${control.name}`) {
  const { kind, least, most, step, choices } = control;
  if (kind === "number") {
    const value = String(text).trim() === "" ? NaN : Number(text);
    if (!(least <= value && value <= most) || (step === 1 && value % 1)) {
      const wanted = step === 1 ? "a whole number" : "a number";
      const got = said(Number.isFinite(value) ? value : text);
      throw new Error(`${what} cannot be ${got}: choose ${wanted} from ${said(least)} to ${said(most)}.`);
    }
    return value;
  }
  if (kind === "choice" && !choices.includes(text)) {
    const known = `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
    throw new Error(`${what} cannot be ${said(text)}: choose ${known}.`);
  }
  if (most && (text.length > most || /[\p{C}\p{Zl}\p{Zp}]/u.test(text))) {
    throw new Error(`${what} cannot be ${said(text)}: write one line of text, of at most ${said(most)} characters.`);
  }
  return text;
}

export const complaint = (text) => h("p", { class: "complaint", role: "alert" }, text);

export const title = (name) => {
  const words = name.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase() || name;
};

const folded = (name) => name.replaceAll("_", " ").toLowerCase().split(/\s+/).filter(Boolean).join(" ");

// A line such as "Smiling, no Eyeglasses, Young=0.5": the value of each attribute, and what names none of the model's.
export function readAttributes(line, model, most) {
  const values = Object.create(null); // A name may be any word, "constructor" too.
  const unknown = [];
  const known = new Map(model.best.toReversed().map((name) => [folded(name), name]));
  const find = (text) => (model.best.includes(text) ? text : known.get(folded(text)));
  for (const raw of line.match(/(?:"(?:[^"]|"")*"|[^,"])+/g) ?? []) {
    const wish = raw
      .trim()
      .replace(/^"(.*)"$/s, (_, inner) => inner.replaceAll('""', '"'))
      .trim();
    if (!wish) continue;
    const [, head, number] = wish.match(/^(.*)=([^=]*)$/s) ?? [];
    const value = number?.trim() ? Number(number) : NaN;
    if (find(wish)) values[find(wish)] = 1;
    else if (/^no /i.test(wish) && find(wish.slice(3))) values[find(wish.slice(3))] = -1;
    else if (head && find(head) && Math.abs(value) <= most) values[find(head)] = value;
    else unknown.push(wish);
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

const RECIPE = new RegExp(
  String.raw`^(\d{1,10})(?:/(\d{1,2}))?(?: temperature=(\d[\d.e-]{0,24}))?(?: bits=([-+.]{1,1000}))?` +
    "(?: attributes=(.{1,10000}))?$",
);

// One face of a seed, such as "7/3 temperature=0.5": what it is drawn from.
export function readRecipe(text) {
  const found = text.trim().match(RECIPE);
  if (!found) {
    throw new Error(`${said(text)} is no face: write a seed, such as 7, or a face of a seed, such as 7/3.`);
  }
  const [seed, face, temperature] = [Number(found[1]), Number(found[2] ?? 1), Number(found[3] ?? 1)];
  if (!(seed < 2 ** 32 && face >= 1 && face <= 64 && temperature >= 0 && temperature <= 2)) {
    throw new Error(`${said(text)} is no face: seeds go to 4,294,967,295, faces from 1 to 64, temperatures to 2.`);
  }
  return { seed, face, temperature, bits: found[4] ?? "", attributes: found[5] ?? "" };
}

export function writeRecipe({ seed, face, temperature, bits, attributes }) {
  return (
    `${seed}/${face}` +
    (temperature === 1 ? "" : ` temperature=${temperature}`) +
    (bits ? ` bits=${bits}` : "") +
    (attributes ? ` attributes=${attributes}` : "")
  );
}

// Latents (count * latentSize) of a seed's first faces, its standard deviation multiplied by the temperature.
export function sample(model, { seed, temperature, bits, attributes }, count) {
  let z = model.sample(seed, count, { variance: model.priorVariance * temperature ** 2 });
  if (bits && model.discreteSize) {
    if (bits.length !== model.discreteSize) {
      const wanted = `+, - or . for each of the ${model.discreteSize}, or nothing`;
      throw new Error(`The bits cannot be ${said(bits)}: write ${wanted}.`);
    }
    z = model.holdBits(z, bits);
  }
  if (!attributes || !model.best.length) return z;
  return model.withAttributes(z, readAttributes(attributes, model, model.discreteSize ? 1 : 3).values);
}
