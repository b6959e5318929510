// The leakage law in closed form, by the names and equations of toy/law.py. A matrix is an array of its rows, and rows of
// W are features. Nothing here takes a step: steps.js does, and the page sets the two side by side.
"use strict";

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const norm = (a) => Math.hypot(...a);
const scaled = (a, factor) => a.map((value) => factor * value);
const plus = (a, b) => a.map((value, i) => value + b[i]);
const transposed = (A) => A[0].map((_, column) => A.map((row) => row[column]));
const cosine = (a, b) => dot(a, b) / (norm(a) * norm(b));

/** (E1) Δf [feature] after h -> h - eta g. */
function representation_step(W, g, eta) {
  return W.map((d) => -eta * dot(d, g));
}

/** (E4) Δf [feature] after h -> h - eta g / (|g| + eps): sign descent at eps = 0, Adam's first step at its own eps. */
function sign_step(W, g, eta, eps = 0) {
  const sign = g.map((value) => (eps ? value / (Math.abs(value) + eps) : Math.sign(value)));
  return representation_step(W, sign, eta);
}

/** (E8) Δf [probe][feature] after A -> A - eta U V^T, where sum_s g_s x_s^T = U S V^T. */
function spectral_step(W, g, x, probe, eta) {
  const G = transposed(g).map((row) => transposed(x).map((column) => dot(row, column)));
  const step = polar(G);
  return probe.map((q) => representation_step(W, step.map((row) => dot(row, q)), eta));
}

/**
 * U V^T of G = U S V^T, over the singular values that are not 0. One-sided Jacobi: rotate pairs of rows until all are
 * orthogonal, J G = S V^T with J = U^T; their lengths are then the singular values.
 */
function polar(G) {
  const SV = G.map((row) => [...row]), J = G.map((_, i) => G.map((_, k) => Number(i === k)));
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < G.length; p++) {
      for (let q = p + 1; q < G.length; q++) turned = orthogonalise(SV, J, p, q) || turned;
    }
  }
  const S = SV.map(norm), zero = Math.max(...S) * Math.max(G.length, G[0].length) * Number.EPSILON;
  const V = SV.map((row, k) => scaled(row, S[k] > zero ? 1 / S[k] : 0));
  return G.map((_, i) => V.reduce((sum, row, k) => plus(sum, scaled(row, J[k][i])), G[0].map(() => 0)));
}

/** Rotates rows p and q of both until those of A are orthogonal; whether that was needed. */
function orthogonalise(A, J, p, q) {
  const a = dot(A[p], A[p]), b = dot(A[q], A[q]), c = dot(A[p], A[q]);
  if (Math.abs(c) <= Number.EPSILON * Math.sqrt(a * b)) return false;
  const zeta = (b - a) / (2 * c);
  const tan = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cos = 1 / Math.hypot(1, tan), sin = cos * tan;
  for (const M of [A, J]) {
    const [row, other] = [M[p], M[q]];
    M[p] = row.map((value, i) => cos * value - sin * other[i]);
    M[q] = row.map((value, i) => sin * value + cos * other[i]);
  }
  return true;
}
