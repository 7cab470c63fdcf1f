// A tour in four steps. Each has a caption and a link that sets the page.

import { button, h } from "./dom.js";
import { firstOf, linkOf } from "./links.js";

const STEPS = [
  {
    tab: "generate",
    title: "Draw a face",
    said:
      "A face begins as 100 random numbers, the latent. A network turns them into a picture. Press Another to draw " +
      "nine other people who do not exist.",
  },
  {
    tab: "generate",
    values: { face: 5, attributes: "Smiling" },
    title: "Give it a smile",
    said:
      "Forty of this model’s numbers are switches with names. Smiling is on for all nine faces; their other numbers " +
      "are as they were. Press + or − on another switch.",
  },
  {
    tab: "interpolate",
    title: "Morph it",
    said: "Between two latents lie other latents, and each of them is a face. Move the slider from A to B.",
  },
  {
    tab: "out-of-distribution",
    values: { mean: 100 },
    title: "Push it until it breaks",
    said:
      "In training the numbers were around 0. Here 100 is added to each of them: no matter which face it was, the " +
      "network draws one and the same mask. Move the slider back, and the faces part again.",
  },
];

export class Tour {
  constructor(page) {
    this.page = page;
    this.element = h("aside.tour", { hidden: true, "aria-label": "Tour", tabindex: -1 });
    const steps = STEPS.map(({ title }, index) => {
      const picture = h("span.picture", { style: `--step: ${index}` });
      return h("li", this.link(index, picture, `${index + 1}. ${title}`));
    });
    this.steps = h("nav.steps", { "aria-label": "Tour" }, [h("h2", "A tour in four steps"), h("ol", steps)]);
  }

  // Returns the values of all controls in a step: its own, and those that the tab has at first.
  values(index) {
    const { tab, values } = STEPS[index];
    return { ...firstOf(this.page.tab(tab).controls), ...values };
  }

  link(index, ...content) {
    const onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // The browser opens it elsewhere.
      event.preventDefault();
      this.go(index);
    };
    const query = linkOf(this.page.tab(STEPS[index].tab), this.values(index));
    return h("a", { href: `?${query}`, onclick }, content);
  }

  go(index) {
    const { tab, title, said } = STEPS[index];
    this.page.open(tab, { values: this.values(index) });
    const next = STEPS[index + 1];
    this.element.replaceChildren(
      h("p", [h("strong", `${index + 1} of ${STEPS.length}. ${title}. `), said]),
      h("p.actions", [next && this.link(index + 1, `Next: ${next.title}`), button("End the tour", () => this.end())]),
    );
    this.element.hidden = false;
    this.at = tab;
    this.element.focus({ preventScroll: true }); // It is read aloud.
    this.page.element.scrollIntoView({ block: "start" });
  }

  // Opening another tab ends the tour.
  opened(tab) {
    if (tab !== this.at) this.end();
  }

  end() {
    this.element.hidden = true;
  }
}
