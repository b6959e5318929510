// The panels. Each draws what the world is now; none remembers a number.
"use strict";

function pushPanel(panel) {
  const numbers = () => {
    const rule = { optimiser: "SGD", eta: world.eta, steps: 1 };
    const predicted = representation_step(world.W, scaled(world.W[world.pushed], -1), world.eta);
    const path = walk(push(world.W, [world.pushed], [[0, 0]], rule), [[0, 0]], rule).map(([h]) => h);
    return { predicted, path, seen: readouts(world.W, path.at(-1)) };
  };
  let guess = null;
  const guessed = panel.querySelector("[name=guess]"), shown = guessed.parentElement.querySelector(".value");
  guessed.addEventListener("input", () => {
    shown.textContent = signed(Number(guessed.value));
    guessed.setAttribute("aria-valuetext", shown.textContent);
  });
  const table = changes(panel.querySelector("table")), say = speaker(find(panel, "said"));
  const draw = plane(find(panel, "plane"), world, {
    label: "Five feature arrows. Left and right turn an arrow, up and down change its length, Enter pushes it.",
    paths: () => (open(panel) ? [{ points: numbers().path, mark: "circle" }] : []),
    side: () => (open(panel) ? world.W[world.pushed] : null),
  });
  gate(panel, (data) => {
    const j = opposite(), t = world.pushed, { seen } = numbers(), ratio = seen[j] / seen[t];
    guess = { j, t, value: Number(data.get("guess")) };
    const missed = Math.abs(guess.value - ratio);
    const how = missed < 0.1 ? "Well seen" : guess.value * ratio > 0 ? "The right side of 0" : "Not this time";
    return `${how}: you said ${signed(guess.value)}, and for each 1 that ${NAMES[t]} rises ${NAMES[j]} changes by ${signed(ratio)}.`;
  });
  world.views.push(() => {
    draw();
    const { predicted, seen } = numbers(), t = world.pushed;
    find(panel, "question").textContent = `${NAMES[t]} is pushed along its own arrow until its readout has risen by 1. By how much does the readout of ${NAMES[opposite()]} change?`;
    if (!open(panel)) return;
    table(predicted, seen, guess.t === t ? { j: guess.j, value: guess.value * seen[t] } : null);
    find(panel, "gap").textContent = scientific(most(seen.map((value, j) => value - predicted[j])));
    const still = others().filter((j) => Math.abs(toPushed(j)) < 0.02).map((j) => NAMES[j]);
    find(panel, "found").textContent = still.length ? `${listed(still)} stays where it was: a right angle, no leakage.` : "";
    say(`${NAMES[t]} pushed. Changes: ${spoken(seen)}.`);
  });
}

function optimiserPanel(panel) {
  const rule = (optimiser = world.optimiser) => ({ optimiser, together: world.together });
  const off = (optimiser) => farthest(leakages(world.W, stepped(world.W, rule(optimiser))));
  const draw = scatter(find(panel, "scatter"), "Leakage against cosine, all twenty ordered pairs"), say = speaker(find(panel, "said"));
  const map = plane(find(panel, "plane"), world, {
    label: "The same arrows; the step of the pushed feature is drawn.",
    paths: () => (open(panel) ? [{ points: [[0, 0], stepped(world.W, { ...rule(), eta: 0.5 })[world.pushed]], mark: "circle" }] : []),
  });
  gate(panel, (data) => {
    const said = data.getAll("keeps"), true_ = Object.keys(OPTIMISERS).filter((name) => off(name) < 1e-6);
    const right = said.length === true_.length && said.every((name) => true_.includes(name));
    return `${right ? "Right" : "Not this time"}: ${listed(true_) || "none"} ${true_.length === 1 ? "keeps" : "keep"} every point on the line; Adam leaves it by up to ${off("Adam").toFixed(2)}.`;
  });
  world.views.push(() => {
    map();
    if (!open(panel)) return;
    const change = stepped(world.W, rule()), points = leakages(world.W, change), far = farthest(points);
    draw([{ mark: "circle", points }], world.pushed);
    const law = lawful(world.W, rule()), error = most(law.flatMap((row, t) => plus(row, scaled(readouts(world.W, change[t]), -1))));
    find(panel, "far").textContent = far < 5e-4 ? "All on the line" : `Farthest from the line: ${far.toFixed(3)}`;
    find(panel, "law").textContent = `${LAW[world.optimiser].name} agrees with the step to ${scientific(error)}`;
    const found = world.optimiser === "spectral" && world.together && far < 0.02;
    find(panel, "found").textContent = found ? "There: arrows spread evenly in all directions, so that no direction is stronger than another, and the square root changes only the scale." : "";
    say(`${world.optimiser}, ${world.together ? "all at once" : "one at a time"}. ${far < 5e-4 ? "All points are on the line" : `Farthest point from the line: ${far.toFixed(2)}`}.`);
  });
}

function rotationPanel(panel) {
  const radians = () => (world.angle * Math.PI) / 180;
  const rule = (optimiser, angle = radians()) => ({ optimiser, angle });
  const points = (optimiser, angle) => leakages(world.W, stepped(world.W, rule(optimiser, angle)));
  const draw = scatter(find(panel, "scatter"), "Leakage against cosine: circles SGD, crosses Adam"), say = speaker(find(panel, "said"));
  const map = plane(find(panel, "plane"), world, {
    label: "The arrows stay, and the axes of the two hidden units turn under them.",
    angle: radians,
    paths: () => (open(panel) ? ["SGD", "Adam"].map((optimiser, i) => ({ points: [[0, 0], stepped(world.W, { ...rule(optimiser), eta: 0.5 })[world.pushed]], mark: ["circle", "cross"][i] })) : []),
  });
  const moves = (optimiser) => points(optimiser, 0).some(({ y }, i) => Math.abs(y - points(optimiser, Math.PI / 6)[i].y) > 1e-6);
  gate(panel, (data) => {
    const moved = ["SGD", "Adam"].filter(moves), key = moved.length === 2 ? "both" : (moved[0] ?? "neither");
    return `${data.get("moves") === key ? "Right" : "Not this time"}: turned by 30°, ${moved.length ? `${listed(moved)}'s points move` : "no point moves"}. Turn the axes and watch.`;
  });
  world.views.push(() => {
    map();
    if (!open(panel)) return;
    const [sgd, adam] = ["SGD", "Adam"].map((optimiser) => points(optimiser)), mine = adam.filter(({ t }) => t === world.pushed);
    draw([{ mark: "circle", points: sgd }, { mark: "cross", points: adam }], world.pushed);
    find(panel, "far").textContent = `Farthest from the line: SGD ${farthest(sgd).toFixed(3)}, Adam ${farthest(adam).toFixed(3)}`;
    const name = NAMES[world.pushed];
    find(panel, "found").textContent = farthest(mine) < 0.03 ? `There: at ${world.angle}° arrow ${name} lies on a diagonal of the axes (or on an axis), where its sign points the same way as itself. Its crosses are on the line, the others' are not.` : "";
    say(`Axes turned by ${world.angle} degrees. Farthest from the line: SGD ${farthest(sgd).toFixed(2)}, Adam ${farthest(adam).toFixed(2)}.`);
  });
}

function reluPanel(panel) {
  const numbers = () => {
    const rule = { optimiser: world.rule, steps: world.steps, keep: world.keep, relu: world.relu };
    const path = walk(push(world.W, [world.pushed], [world.start], rule), [world.start], rule).map(([h]) => h);
    const [before, after] = [path[0], path.at(-1)].map((h) => readouts(world.W, h, world.relu));
    const predicted = scaled(lawful(world.W, { optimiser: world.rule })[world.pushed], world.steps);
    return { path, predicted, seen: after.map((y, j) => y - before[j]) };
  };
  const table = changes(panel.querySelector("table")), say = speaker(find(panel, "said"));
  const draw = plane(find(panel, "plane"), world, {
    label: "The arrows, and the path of the hidden state. The dot where it starts can be moved.",
    paths: () => (open(panel) ? [{ points: numbers().path, mark: "circle" }] : []),
    start: true,
  });
  gate(panel, (data) => {
    const j = opposite(), { predicted, seen } = numbers(), key = Math.abs(seen[j]) < 1e-9 ? "nothing" : seen[j] < 0 ? "falls" : "rises";
    return `${data.get("sees") === key ? "Right" : "Not this time"}: the law says ${signed(predicted[j], 3)} for ${NAMES[j]}; through the ReLU you see ${signed(seen[j], 3)}.`;
  });
  world.views.push(() => {
    draw();
    const { predicted, seen } = numbers(), name = NAMES[opposite()], before = readouts(world.W, world.start, world.relu)[opposite()];
    find(panel, "question").textContent = `${NAMES[world.pushed]} is pushed. ${name} makes the widest angle with it and now reads ${before.toFixed(2)}${world.relu ? " through its ReLU" : ""}. What will you see of ${name}?`;
    if (!open(panel)) return;
    table(predicted, seen, null);
    const hidden = predicted.map((_, j) => j).filter((j) => predicted[j] < -1e-9 && Math.abs(seen[j]) < 1e-9).map((j) => NAMES[j]);
    find(panel, "found").textContent = world.relu && hidden.length ? `The ReLU hides what falls: ${listed(hidden)}.` : "";
    say(`${world.steps} steps of ${world.rule}, ReLU ${world.relu ? "on" : "off"}. Changes seen: ${spoken(seen)}.`);
  });
}
