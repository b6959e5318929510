// The first four panels. Each draws what the world is now; of the numbers, only the student's guess is remembered.
"use strict";

const SHOWN = 0.5; // step size of the arrows that show where an optimiser goes

const graded = (right) => (right ? "Right" : "Not this time");
const show = (panel, name, text) => (find(panel, name).textContent = text);
const toStep = (optimiser, rule) => [[0, 0], stepped(world.W, { ...rule, optimiser, eta: SHOWN })[world.pushed]];

function pushPanel(panel) {
  const say = speaker(find(panel, "said")), table = changes(panel.querySelector("table"));
  const numbers = () => {
    const rule = { optimiser: "SGD", eta: world.eta }, gradient = push(world.W, [world.pushed], [[0, 0]]);
    const path = walk(gradient, [[0, 0]], rule).map(([h]) => h);
    const predicted = representation_step(world.W, scaled(world.W[world.pushed], -1), world.eta);
    return { predicted, path, seen: readouts(world.W, path.at(-1)) };
  };
  const draw = plane(find(panel, "plane"), world, {
    label: "Five feature arrows. Left and right turn an arrow, up and down change its length, Enter pushes it.",
    paths: () => (open(panel) ? [{ points: numbers().path, mark: "circle" }] : []),
    side: () => (open(panel) ? world.W[world.pushed] : null),
    units: false,
  });
  const guessed = panel.querySelector("[name=guess]");
  guessed.addEventListener("input", () => {
    guessed.parentElement.querySelector(".value").textContent = signed(Number(guessed.value));
    guessed.setAttribute("aria-valuetext", signed(Number(guessed.value)));
  });
  let guess = null;
  gate(panel, () => {
    const [j, t] = [opposite(), world.pushed], { seen } = numbers(), ratio = seen[j] / seen[t];
    guess = { j, t, value: Number(guessed.value) };
    const close = Math.abs(guess.value - ratio) < 0.1, side = guess.value * ratio > 0;
    const said = close ? "Well seen" : side ? "The right side of 0" : graded(false);
    const truth = `for each 1 that ${NAMES[t]} rises ${NAMES[j]} changes by ${signed(ratio)}`;
    return `${said}: you said ${signed(guess.value)}, and ${truth}.`;
  });
  world.views.push(() => {
    draw();
    const t = world.pushed, { predicted, seen } = numbers();
    if (!open(panel)) {
      const until = `${NAMES[t]} is pushed along its own arrow until its readout has risen by 1.`;
      return show(panel, "question", `${until} By how much does the readout of ${NAMES[opposite()]} change?`);
    }
    const mark = guess.t === t ? { j: guess.j, value: guess.value * seen[t] } : null;
    table(predicted, seen, most(predicted) / world.eta, mark);
    show(panel, "gap", scientific(most(seen.map((value, j) => value - predicted[j]))));
    const still = others().filter((j) => Math.abs(toPushed(j)) < 0.02).map((j) => NAMES[j]);
    show(panel, "found", still.length ? `A right angle, no leakage: ${listed(still)} stays where it was.` : "");
    say(`${NAMES[t]} pushed. Changes: ${spoken(seen)}.`);
  });
}

function optimiserPanel(panel) {
  const say = speaker(find(panel, "said"));
  const draw = scatter(find(panel, "scatter"), "Leakage against cosine, all twenty ordered pairs");
  const rule = (optimiser) => ({ optimiser, together: world.together });
  const step = () => toStep(world.optimiser, { together: world.together });
  const off = (optimiser) => farthest(leakages(world.W, stepped(world.W, rule(optimiser))));
  const map = plane(find(panel, "plane"), world, {
    label: "The same arrows, and the step that pushes one of them",
    paths: () => (open(panel) ? [{ points: step(), mark: "circle" }] : []),
    side: () => (open(panel) ? step()[1] : null),
  });
  gate(panel, (data) => {
    const said = data.getAll("keeps"), keep = Object.keys(OPTIMISERS).filter((name) => off(name) < 1e-6);
    const right = said.length === keep.length && said.every((name) => keep.includes(name));
    const truth = `${listed(keep)} ${keep.length === 1 ? "keeps" : "keep"} every point on the line`;
    return `${graded(right)}: ${truth}; Adam leaves it by up to ${off("Adam").toFixed(2)}.`;
  });
  world.views.push(() => {
    map();
    if (!open(panel)) return;
    const { optimiser, together } = world, change = stepped(world.W, rule(optimiser));
    const points = leakages(world.W, change), far = farthest(points);
    draw([{ mark: "circle", points }], world.pushed);
    const seen = change.map((h) => readouts(world.W, h)), law = lawful(world.W, rule(optimiser));
    const apart = most(zip(law, seen, (a, b) => a - b).flat());
    const where = far < 5e-4 ? "All on the line" : `Farthest from the line: ${far.toFixed(3)}`;
    show(panel, "far", where);
    show(panel, "law", `law (${LAW[optimiser].name}) and step differ by at most ${scientific(apart)}`);
    const even = optimiser === "spectral" && together && far < 0.02;
    const why = "arrows spread evenly, so that no direction is stronger than another: the root changes the scale only.";
    show(panel, "found", even ? `There: ${why}` : "");
    say(`${optimiser}, ${together ? "all five at once" : "one at a time"}. ${where}.`);
  });
}

function rotationPanel(panel) {
  const say = speaker(find(panel, "said"));
  const draw = scatter(find(panel, "scatter"), "Leakage against cosine: circles for SGD, crosses for Adam");
  const radians = () => (world.angle * Math.PI) / 180;
  const points = (optimiser, angle = radians()) => leakages(world.W, stepped(world.W, { optimiser, angle }));
  const map = plane(find(panel, "plane"), world, {
    label: "The arrows stay, and the axes of the two hidden units turn under them",
    angle: radians,
    paths: () => {
      const drawn = [["SGD", "circle"], ["Adam", "cross"]];
      return open(panel) ? drawn.map(([name, mark]) => ({ points: toStep(name, { angle: radians() }), mark })) : [];
    },
  });
  const moves = (optimiser) => {
    const later = points(optimiser, Math.PI / 6);
    return points(optimiser, 0).some(({ y }, i) => Math.abs(y - later[i].y) > 1e-6);
  };
  gate(panel, (data) => {
    const moved = ["SGD", "Adam"].filter(moves), key = moved.length === 2 ? "both" : (moved[0] ?? "neither");
    const what = moved.length ? `${listed(moved)}'s points move` : "no point moves";
    return `${graded(data.get("moves") === key)}: by 30°, ${what}. Turn the axes and watch.`;
  });
  world.views.push(() => {
    map();
    if (!open(panel)) return;
    const sgd = points("SGD"), adam = points("Adam"), mine = adam.filter(({ t }) => t === world.pushed);
    draw([{ mark: "circle", points: sgd }, { mark: "cross", points: adam }], world.pushed);
    const where = `Farthest from the line: SGD ${farthest(sgd).toFixed(3)}, Adam ${farthest(adam).toFixed(3)}`;
    show(panel, "far", where);
    const there = `There: at ${world.angle}° ${NAMES[world.pushed]} lies along a diagonal of the axes, or along one of them,`;
    const why = "where the signs of its coordinates point as it does. The other crosses stay off the line.";
    show(panel, "found", farthest(mine) < 0.03 ? `${there} ${why}` : "");
    say(`Axes turned by ${world.angle} degrees. ${where}.`);
  });
}

function reluPanel(panel) {
  const say = speaker(find(panel, "said")), table = changes(panel.querySelector("table"));
  const numbers = () => {
    const { W, pushed, start, rule: optimiser, steps, keep, relu } = world;
    const path = walk(push(W, [pushed], [start], { keep, relu }), [start], { optimiser, steps }).map(([h]) => h);
    const [before, after] = [start, path.at(-1)].map((h) => readouts(W, h, relu));
    const predicted = scaled(lawful(W, { optimiser })[pushed], steps);
    return { path, predicted, before, seen: after.map((y, j) => y - before[j]) };
  };
  const draw = plane(find(panel, "plane"), world, {
    label: "The arrows, and the path of the hidden state from a dot that can be moved",
    paths: () => (open(panel) ? [{ points: numbers().path, mark: "circle" }] : []),
    start: true,
  });
  gate(panel, (data) => {
    const j = opposite(), { predicted, seen } = numbers();
    const key = Math.abs(seen[j]) < 1e-9 ? "nothing" : seen[j] < 0 ? "falls" : "rises";
    const truth = `${world.relu ? "through the ReLU you see" : "you see"} ${signed(seen[j], 3)}`;
    return `${graded(data.get("sees") === key)}: the law says ${signed(predicted[j], 3)} for ${NAMES[j]}; ${truth}.`;
  });
  world.views.push(() => {
    draw();
    const { predicted, before, seen } = numbers(), { pushed, steps, rule, relu } = world;
    if (!open(panel)) {
      const j = opposite(), reads = `reads ${before[j].toFixed(2)}${relu ? " through its ReLU" : ""} now`;
      const angle = `${NAMES[pushed]} is pushed. ${NAMES[j]} makes the widest angle with it and ${reads}.`;
      return show(panel, "question", `${angle} What will you see of ${NAMES[j]}?`);
    }
    table(predicted, seen, (most(predicted) / steps) * 20, null);
    const hidden = others().filter((j) => predicted[j] < -1e-9 && Math.abs(seen[j]) < 1e-9).map((j) => NAMES[j]);
    show(panel, "found", relu && hidden.length ? `The ReLU hides what falls: ${listed(hidden)}.` : "");
    say(`${steps} steps of ${rule}, ReLU ${relu ? "on" : "off"}. Changes seen: ${spoken(seen)}.`);
  });
}
