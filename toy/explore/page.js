// What the panels share: one world of arrows, inputs bound to it, a prediction before any number, and a voice.
"use strict";

const START = [[1, 15], [0.9, 75], [1.1, 150], [0.8, 205], [1, 295]]; // lengths and angles of A to E

const world = {
  W: START.map(([length, angle]) => polarPoint(length, (angle * Math.PI) / 180)),
  pushed: 0, start: [0, 0], eta: 0.5, optimiser: "SGD", together: false, angle: 0, rule: "SGD", steps: 1, relu: true, keep: false,
  views: [],
  change(patch) {
    Object.assign(world, patch);
    world.views.forEach((view) => view());
  },
};

const find = (host, name) => host.querySelector(`[data-${name}]`);
const open = (panel) => panel.classList.contains("open");
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
const most = (values) => Math.max(...values.map(Math.abs));
const scientific = (value) => {
  const [digits, power] = value.toExponential(0).split("e");
  return value === 0 ? "0" : `${digits} × 10${power.replace("-", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit])}`;
};

/** Inputs with data-world set that key of the world, and show it: numbers, switches and choices alike. */
function bind(input) {
  const key = input.dataset.world, number = input.type === "range";
  const output = input.parentElement.querySelector(".value");
  input.addEventListener("input", () => {
    world.change({ [key]: input.type === "checkbox" ? input.checked : number ? Number(input.value) : valued(input) });
  });
  world.views.push(() => {
    if (input.type === "checkbox") input.checked = world[key];
    else if (input.type === "radio") input.checked = String(world[key]) === input.value;
    else input.value = world[key];
    if (!output) return;
    output.textContent = `${world[key]}${input.dataset.unit ?? ""}`;
    input.setAttribute("aria-valuetext", `${world[key]}${input.dataset.spoken ?? ""}`);
  });
}

const valued = ({ value, dataset }) => (dataset.world === "pushed" ? Number(value) : dataset.world === "together" ? value === "true" : value);

/** A panel whose numbers wait for a prediction: answer(form data) says what became of it, in a line. */
function gate(panel, answer, then = () => {}) {
  const form = panel.querySelector("form"), verdict = find(panel, "verdict"), again = find(panel, "again");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = answer(new FormData(form));
    panel.classList.add("open");
    form.querySelector("fieldset").disabled = true;
    verdict.textContent = said;
    then();
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

/** Rows of predicted and stepped changes, a bar in each; update(predicted, seen, guess {j, value} or null). */
function changes(table) {
  const body = table.querySelector("tbody");
  const rows = [...NAMES].map((name) => {
    const row = body.insertRow();
    row.innerHTML = `<th scope="row">${name}</th><td></td><td class="bar" aria-hidden="true"><i class="predicted"></i>
      <i class="seen"></i><i class="guess"></i></td><td></td><td></td>`;
    return row;
  });
  return (predicted, seen, guess) => {
    const scale = 1.1 * Math.max(most(predicted), most(seen), Math.abs(guess?.value ?? 0), 1e-9);
    rows.forEach((row, j) => {
      row.classList.toggle("pushed", j === world.pushed);
      const [, cos, bar, law, step] = row.cells;
      cos.textContent = signed(cosine(world.W[j], world.W[world.pushed]));
      law.textContent = signed(predicted[j], 3);
      step.textContent = signed(seen[j], 3);
      for (const [mark, value] of [["predicted", predicted[j]], ["seen", seen[j]]]) {
        const share = (50 * Math.abs(value)) / scale;
        bar.querySelector(`.${mark}`).style.cssText = `left:${value < 0 ? 50 - share : 50}%;width:${share}%`;
      }
      const mark = bar.querySelector(".guess");
      mark.hidden = guess?.j !== j;
      if (guess) mark.style.left = `${50 + (50 * guess.value) / scale}%`;
    });
  };
}

const others = () => world.W.map((_, j) => j).filter((j) => j !== world.pushed);
const toPushed = (j) => cosine(world.W[j], world.W[world.pushed]);

/** The feature that makes the widest angle with the pushed one. */
const opposite = () => others().reduce((a, b) => (toPushed(a) < toPushed(b) ? a : b));

const spoken = (values) => values.map((value, j) => `${NAMES[j]} ${signed(value, 3)}`).join(", ");
