// The ReLU-output model of Elhage et al. 2022, five features in two dimensions, as toy/model.py trains it:
// h = x W, y = relu(h W^T + b), L = mean (y - x)^2; AdamW, learning rate falling to 0, half batches in the first half.
"use strict";

const FEATURES = 5, BATCH = 512, TRAIN_STEPS = 1000, RATE = 1e-2, DECAY = 0.01, INSTANCES = 8;

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function normal(uniform) {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** One instance at its start: parameters are W row by row, then b. */
function instance(seed) {
  const uniform = random(seed), size = 3 * FEATURES;
  const theta = Float64Array.from({ length: size }, (_, i) =>
    i < 2 * FEATURES ? normal(uniform) * Math.sqrt(2 / (FEATURES + 2)) : 0,
  );
  return { uniform, theta, mean: new Float64Array(size), square: new Float64Array(size), step: 0 };
}

/** Fills x with a sample: each feature on with probability p, and then uniform. Whether any is. */
function sample(x, p, uniform) {
  let any = false;
  for (let i = 0; i < FEATURES; i++) {
    const on = uniform() < p;
    x[i] = on ? 1 - uniform() : 0;
    any ||= on;
  }
  return any;
}

/** The loss of one sample, its gradient added to `grad` where one is given (E6: delta^T H + x^T (delta W)). */
function loss(theta, x, grad) {
  let h0 = 0, h1 = 0, back0 = 0, back1 = 0, total = 0;
  for (let i = 0; i < FEATURES; i++) {
    h0 += x[i] * theta[2 * i];
    h1 += x[i] * theta[2 * i + 1];
  }
  for (let i = 0; i < FEATURES; i++) {
    const pre = h0 * theta[2 * i] + h1 * theta[2 * i + 1] + theta[2 * FEATURES + i];
    const error = Math.max(0, pre) - x[i];
    total += error * error / FEATURES;
    if (!grad || pre <= 0) continue;
    const delta = 2 * error / FEATURES;
    grad[2 * i] += delta * h0;
    grad[2 * i + 1] += delta * h1;
    grad[2 * FEATURES + i] += delta;
    back0 += delta * theta[2 * i];
    back1 += delta * theta[2 * i + 1];
  }
  for (let i = 0; grad && i < FEATURES; i++) {
    if (x[i] === 0) continue;
    grad[2 * i] += x[i] * back0;
    grad[2 * i + 1] += x[i] * back1;
  }
  return total;
}

/** One AdamW step on a fresh batch. */
function trainStep(toy, p) {
  const { theta, mean, square, uniform } = toy;
  const size = toy.step < TRAIN_STEPS / 2 ? BATCH / 2 : BATCH;
  const grad = new Float64Array(theta.length), x = new Float64Array(FEATURES), empty = new Float64Array(FEATURES);
  let silent = 0;
  for (let s = 0; s < size; s++) {
    if (sample(x, p, uniform)) loss(theta, x, grad);
    else silent += 1;
  }
  if (silent) { // all of them are the same sample
    const one = new Float64Array(theta.length);
    loss(theta, empty, one);
    one.forEach((g, i) => (grad[i] += silent * g));
  }
  const rate = RATE * (1 - (toy.step / TRAIN_STEPS) ** 2);
  toy.step += 1;
  for (let i = 0; i < theta.length; i++) {
    const g = grad[i] / size;
    mean[i] += 0.1 * (g - mean[i]);
    square[i] += 0.001 * (g * g - square[i]);
    const [m, v] = [mean[i] / (1 - 0.9 ** toy.step), square[i] / (1 - 0.999 ** toy.step)];
    theta[i] -= rate * (DECAY * theta[i] + m / (Math.sqrt(v) + 1e-8));
  }
}

const directions = (toy) => Array.from({ length: FEATURES }, (_, i) => [...toy.theta.slice(2 * i, 2 * i + 2)]);

/** Of the instances, the one that does best on samples that none was trained on, the same for all. */
function best(toys, p, seed) {
  const fresh = (toy) => {
    const uniform = random(seed), x = new Float64Array(FEATURES);
    let total = 0;
    for (let s = 0; s < 16 * BATCH; s++) {
      sample(x, p, uniform);
      total += loss(toy.theta, x);
    }
    return total;
  };
  const lost = toys.map(fresh);
  return lost.indexOf(Math.min(...lost));
}

/** Angles in degrees from each represented direction (longer than 1/2) to the next, anticlockwise; they sum to 360. */
function gaps(W) {
  const angles = W.filter((d) => norm(d) > 0.5).map(([x, y]) => Math.atan2(y, x) * 180 / Math.PI).sort((a, b) => a - b);
  return angles.map((angle, i) => (i + 1 < angles.length ? angles[i + 1] : angles[0] + 360) - angle);
}

/** D_i = |W_i|^2 / sum_j (Ŵ_i . W_j)^2, as shared/geometry.py has it. */
function dimensionality(W) {
  return W.map((d) => dot(d, d) ** 2 / W.reduce((sum, other) => sum + dot(d, other) ** 2, 0));
}

const near = (angles, wanted) => angles.every((angle) => Math.abs(angle - wanted) < 10);

/** The arrangement by its angles, which tell apart what dimensionalities do not. */
function shape(W) {
  const angles = gaps(W), count = angles.length;
  if (count === 5 && near(angles, 72)) return "pentagon";
  if (count === 4 && near(angles, 90)) return "pairs";
  if (count === 3 && near(angles, 120)) return "triangle";
  return "other";
}
