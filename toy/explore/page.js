// What the panels share: one world of arrows, inputs bound to it, a prediction before any number, and a voice.
"use strict";

const START = [[1, 20], [0.8, 75], [1.1, 160], [0.8, 210], [0.7, 305]]; // lengths and angles of A to E

const world = {
  W: START.map(([length, angle]) => polarPoint(length, (angle * Math.PI) / 180)),
  pushed: 0, // the feature t
  eta: 0.5, // panel 1
  optimiser: "SGD", together: 0, // panel 2
  angle: 0, // panel 3, degrees
  start: [0, 0], rule: "SGD", steps: 10, relu: true, keep: false, // panel 4
  views: [],
  change(patch) {
    Object.assign(world, patch);
    world.views.forEach((view) => view());
  },
};

const find = (host, name) => host.querySelector(`[data-${name}]`);
const open = (panel) => panel.classList.contains("open");
const listed = (words) => [words.slice(0, -1).join(", "), words.at(-1) ?? "none"].filter(Boolean).join(" and ");
const most = (values) => Math.max(...values.map(Math.abs));
const scientific = (value) => {
  if (value === 0) return "0";
  const [digits, power] = value.toExponential(0).split("e");
  return `${digits} × 10${power.replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}`;
};

const NUMERIC = /^[\d.]+$/;

/** Inputs with data-world set that key of the world, and show it: numbers, switches and choices alike. */
function bind(input) {
  const key = input.dataset.world;
  const output = input.parentElement.querySelector(".value");
  const value = () => {
    if (input.type === "checkbox") return input.checked;
    return NUMERIC.test(input.value) ? Number(input.value) : input.value;
  };
  input.addEventListener("input", () => world.change({ [key]: value() }));
  world.views.push(() => {
    if (input.type === "checkbox") input.checked = world[key];
    else if (input.type === "radio") input.checked = String(world[key]) === input.value;
    else input.value = world[key];
    if (!output) return;
    output.textContent = `${world[key]}${input.dataset.unit ?? ""}`;
    input.setAttribute("aria-valuetext", `${world[key]}${input.dataset.spoken ?? ""}`);
  });
}

/** A panel whose numbers wait for a prediction: answer(form data) says what became of it, in a line. */
function gate(panel, answer) {
  const form = panel.querySelector("form"), verdict = find(panel, "verdict"), again = find(panel, "again");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = answer(new FormData(form));
    panel.classList.add("open");
    document.querySelector(`nav [href="#${panel.id}"]`).classList.add("done");
    form.querySelector("fieldset").disabled = true;
    verdict.textContent = said;
    verdict.focus({ preventScroll: true });
    world.change({});
  });
  again.addEventListener("click", () => {
    panel.classList.remove("open");
    form.querySelector("fieldset").disabled = false;
    verdict.textContent = "";
    world.change({});
    form.querySelector("input").focus();
  });
}

/** Says a panel's numbers to a screen reader once they have rested, not at every pixel of a drag. */
function speaker(node) {
  let waiting, said = "";
  return (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (text !== said) node.textContent = said = text;
    }, 400);
  };
}

/** Rows of predicted and stepped changes: update(predicted, seen, scale of the bars, guess {j, value} or null). */
function changes(table) {
  const body = table.querySelector("tbody");
  const rows = [...NAMES].map((name) => {
    const row = body.insertRow();
    row.innerHTML = `<th scope="row">${name}</th><td></td><td class="bar" aria-hidden="true"><i class="predicted"></i>
      <i class="seen"></i><i class="guess"></i></td><td></td><td></td>`;
    return row;
  });
  return (predicted, seen, scale, guess) => {
    const share = (value) => 48 * Math.max(-1, Math.min(1, value / scale));
    rows.forEach((row, j) => {
      row.classList.toggle("pushed", j === world.pushed);
      const [, cos, bar, law, step] = row.cells;
      cos.textContent = signed(cosine(world.W[j], world.W[world.pushed]));
      law.textContent = signed(predicted[j], 3);
      step.textContent = signed(seen[j], 3);
      for (const [mark, value] of [["predicted", predicted[j]], ["seen", seen[j]]]) {
        const left = 50 + Math.min(0, share(value)), width = Math.abs(share(value));
        bar.querySelector(`.${mark}`).style.cssText = `left: ${left}%; width: ${width}%`;
      }
      const mark = bar.querySelector(".guess");
      mark.hidden = guess?.j !== j;
      if (guess) mark.style.left = `${50 + share(guess.value)}%`;
    });
  };
}

const others = () => world.W.map((_, j) => j).filter((j) => j !== world.pushed);
const toPushed = (j) => cosine(world.W[j], world.W[world.pushed]);

/** The feature that makes the widest angle with the pushed one. */
const opposite = () => others().reduce((a, b) => (toPushed(a) < toPushed(b) ? a : b));

const spoken = (values) => values.map((value, j) => `${NAMES[j]} ${signed(value, 3)}`).join(", ");
