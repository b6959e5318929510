// Real optimiser steps, one after the other, with no closed form in them: the toy/measure.py of the page.
// H [input][2]: the hidden state at every input. The inputs are one-hot, so that a step on the weights A of h = A x moves
// the state of input t by column t of its gradient, and H is A^T.
"use strict";

const ETA = 0.05;
const EPS = 1e-8; // of Adam
const zip = (A, B, f) => A.map((row, i) => row.map((value, k) => f(value, B[i][k])));

// Each makes a fresh optimiser: gradient -> the direction that is subtracted, eta times.
const OPTIMISERS = {
  SGD: () => (G) => G,
  sign: () => (G) => G.map((row) => row.map(Math.sign)),
  Adam: () => {
    let mean, square, steps = 0;
    return (G) => {
      mean ??= G.map((row) => row.map(() => 0));
      square ??= mean;
      steps += 1;
      mean = zip(mean, G, (m, g) => 0.9 * m + 0.1 * g);
      square = zip(square, G, (v, g) => 0.999 * v + 0.001 * g * g);
      const [one, two] = [1 - 0.9 ** steps, 1 - 0.999 ** steps];
      return zip(mean, square, (m, v) => m / one / (Math.sqrt(v / two) + EPS));
    };
  },
  spectral: () => polar,
};

/** Rows turned by an angle in radians, anticlockwise. */
function turned(rows, angle) {
  const cos = Math.cos(angle), sin = Math.sin(angle);
  return rows.map(([x, y]) => [cos * x - sin * y, sin * x + cos * y]);
}

/** H before and after each step. The optimiser sees its gradient in hidden units that are turned by `angle`. */
function walk(gradient, H, { optimiser, eta = ETA, steps = 1, angle = 0 }) {
  const direction = OPTIMISERS[optimiser](), path = [H];
  for (let k = 0; k < steps; k++) {
    const step = turned(direction(turned(gradient(H), -angle)), angle);
    H = zip(H, step, (h, s) => h - eta * s);
    path.push(H);
  }
  return path;
}

const readouts = (W, h, relu = false) => W.map((d) => (relu ? Math.max(0, dot(d, h)) : dot(d, h)));

/**
 * Gradient [input][2] of what is asked at input i: L = -f_t with t = targets[i]; with `keep`, plus half the squared
 * change of every other readout, seen through the ReLU if there is one. The push itself is on f_t before its ReLU.
 */
function push(W, targets, start, { keep = false, relu = false } = {}) {
  const held = start.map((h) => readouts(W, h, relu));
  return (H) =>
    H.map((h, i) => {
      let g = scaled(W[targets[i]], -1);
      if (!keep) return g;
      readouts(W, h, relu).forEach((y, j) => {
        const silent = relu && dot(W[j], h) <= 0;
        if (j !== targets[i] && !silent) g = plus(g, scaled(W[j], y - held[i][j]));
      });
      return g;
    });
}

// What the law says of the same first step: Δf [feature] from W, g, eta, in the units that the optimiser sees.
const LAW = {
  SGD: { name: "E1", step: representation_step },
  sign: { name: "E4", step: sign_step },
  Adam: { name: "E4", step: (W, g, eta) => sign_step(W, g, eta, EPS) },
  spectral: { name: "E8", step: (W, g, eta) => spectral_step(W, [g], [[1]], [[1]], eta)[0] },
};

/** Δf [target][feature] of the first step by the law, every target pushed at its own input: in turn, or `together`. */
function lawful(W, { optimiser, eta = ETA, angle = 0, together = false }) {
  const units = turned(W, -angle), g = units.map((d) => scaled(d, -1));
  const inputs = W.map((_, i) => W.map((_, k) => Number(i === k)));
  if (together && optimiser === "spectral") return spectral_step(units, g, inputs, inputs, eta);
  return g.map((g_t) => LAW[optimiser].step(units, g_t, eta));
}

/** Change of h [target][2] by real steps, every feature pushed from h = 0. */
function stepped(W, { together = false, ...rule }) {
  const every = W.map((_, t) => t), zeros = W.map(() => [0, 0]);
  const last = (targets, H) => walk(push(W, targets, H, rule), H, rule).at(-1);
  return together ? last(every, zeros) : every.map((t) => last([t], [[0, 0]])[0]);
}

/** Leakage against cosine, every ordered pair: the change of f_j along the unit direction of j, per that of f_t. */
function leakages(W, change) {
  const unit = W.map((d) => scaled(d, 1 / norm(d)));
  return W.flatMap((_, t) =>
    W.map((_, j) => ({ t, j, x: dot(unit[j], unit[t]), y: dot(unit[j], change[t]) / dot(unit[t], change[t]) }))
      .filter(({ j }) => j !== t),
  );
}

const farthest = (points) => Math.max(...points.map(({ x, y }) => Math.abs(y - x)));
