// The last panel: train eight instances of the toy in the page, a few steps to a picture, and read the best one's angles.
"use strict";

const PROBABILITIES = [0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1];
const SLICE = 12; // steps to a picture, at most
const SHAPES = {
  pentagon: "a pentagon: all five, 72° apart",
  pairs: "two pairs of opposites, and the fifth given up",
  triangle: "a triangle: three, 120° apart, and two given up",
  other: "none of the three",
};

/** A small picture of five directions; update(W, chosen). */
function miniature(host) {
  const view = make("svg", { viewBox: "0 0 100 100", class: "mini" }, host);
  make("circle", { class: "unit", cx: 50, cy: 50, r: 33 }, view);
  const lines = [...NAMES].map(() => make("line", { x1: 50, y1: 50, class: "shaft" }, view));
  return (W, chosen = false) => {
    view.classList.toggle("chosen", chosen);
    W.forEach(([x, y], i) => set(lines[i], { x2: 50 + 33 * x, y2: 50 - 33 * y }));
  };
}

/** Trains `toys` to the end in slices that leave the page alive and can be watched; show() after each, then done(). */
function trainAll(toys, p, show, done) {
  const slice = () => {
    const until = performance.now() + 24, pause = toys[0].step + SLICE;
    while (toys[0].step < Math.min(pause, TRAIN_STEPS) && performance.now() < until) {
      toys.forEach((toy) => trainStep(toy, p));
    }
    show();
    if (toys[0].step < TRAIN_STEPS) requestAnimationFrame(slice);
    else done();
  };
  slice();
}

function trainPanel(panel) {
  const slider = panel.querySelector("input[type=range]"), bar = panel.querySelector("progress");
  const minis = find(panel, "minis"), draws = Array.from({ length: INSTANCES }, () => miniature(minis));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const p = () => PROBABILITIES[slider.value];
  const slid = () => {
    panel.querySelector(".value").textContent = p();
    slider.setAttribute("aria-valuetext", `probability ${p()}`);
  };
  slider.max = PROBABILITIES.length - 1;
  slider.value = PROBABILITIES.indexOf(0.05);
  slider.addEventListener("input", slid);
  slid();
  let seed = 1, W;

  const report = (toys, guess) => {
    const chosen = best(toys, p(), 2 ** 31 + seed);
    W = directions(toys[chosen]);
    toys.forEach((toy, i) => draws[i](directions(toy), i === chosen));
    const found = shape(W), shares = dimensionality(W);
    const each = (text) => W.map((d, i) => `${NAMES[i]} ${text(d, i)}`).join(", ");
    show(panel, "verdict", `${graded(guess === found)}: at p = ${p()} it is ${SHAPES[found]}.`);
    show(panel, "angles", gaps(W).map((gap) => `${gap.toFixed(1)}°`).join(", "));
    show(panel, "lengths", each((d) => norm(d).toFixed(2)));
    show(panel, "shares", each((d, i) => (norm(d) > 0.5 ? shares[i].toFixed(2) : "–")));
    find(panel, "use").disabled = W.some((d) => norm(d) < SHORTEST);
    find(panel, "again").disabled = false;
    panel.classList.add("trained");
  };

  gate(panel, (data) => {
    const toys = Array.from({ length: INSTANCES }, () => instance(seed++));
    panel.classList.remove("trained");
    for (const name of ["again", "use"]) find(panel, name).disabled = true;
    const draw = () => {
      bar.value = toys[0].step / TRAIN_STEPS;
      if (!still.matches) toys.forEach((toy, i) => draws[i](directions(toy)));
    };
    trainAll(toys, p(), draw, () => report(toys, data.get("shape")));
    return "Training eight models, each from its own random start …";
  });
  find(panel, "use").addEventListener("click", () => {
    world.change({ W: W.map((d) => scaled(d, Math.min(1, LONGEST / norm(d)))) });
    document.getElementById("push").scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
    document.getElementById("push-title").focus({ preventScroll: true });
  });
}

document.querySelectorAll("[data-world]").forEach(bind);
for (const panel of [pushPanel, optimiserPanel, rotationPanel, reluPanel, trainPanel]) {
  panel(document.getElementById(panel.name.replace("Panel", "")));
}
world.change({});
