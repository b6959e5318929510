// SVG: the plane with its arrows, and the scatter of leakage against cosine. What a mouse or a finger can move, the arrow
// keys move too, and a screen reader is told where it is.
"use strict";

const SIZE = 400, UNIT = 130; // pixels of a drawing, and of a length of 1 on a plane
const NAMES = "ABCDE";
const SHORTEST = 0.3, LONGEST = 1.3;
const degrees = (radians) => (radians * 180) / Math.PI;
const angleOf = ([x, y]) => Math.atan2(y, x);
const polarPoint = (length, angle) => [length * Math.cos(angle), length * Math.sin(angle)];
const pixel = ([x, y]) => [SIZE / 2 + UNIT * x, SIZE / 2 - UNIT * y];
const signed = (value, digits = 2) => {
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? "" : value < 0 ? "−" : "+") + text;
};

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function make(tag, attributes, parent) {
  const node = set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  parent.append(node);
  return node;
}

const line = (from, to) => ({ x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
const put = (node, [x, y], text) => {
  set(node, { x, y });
  if (text !== undefined) node.textContent = text;
};

/** Lets `node` be dragged. at() and move(point) are in the plane's units; tap() where it was let go unmoved. */
function draggable(node, { at, move, tap, key }) {
  let grip = null, origin;
  const point = ({ clientX, clientY }) => {
    const { left, top, width } = node.ownerSVGElement.getBoundingClientRect(), scale = SIZE / width / UNIT;
    return [(clientX - left) * scale - SIZE / 2 / UNIT, SIZE / 2 / UNIT - (clientY - top) * scale];
  };
  const released = () => {
    grip = null;
    node.classList.remove("held");
  };
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false }); // or the page would scroll
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    origin = point(event);
    grip = plus(at(), scaled(origin, -1));
    node.setPointerCapture(event.pointerId);
    node.classList.add("held");
    node.focus({ preventScroll: true });
    event.preventDefault();
  });
  node.addEventListener("pointermove", (event) => {
    const now = point(event);
    if (grip && (!origin || norm(plus(now, scaled(origin, -1))) > 0.03)) {
      origin = null; // from here on it is a drag
      move(plus(now, grip));
    }
  });
  node.addEventListener("pointerup", () => {
    if (grip && origin) tap?.();
    released();
  });
  node.addEventListener("pointercancel", released);
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if ([" ", "Enter"].includes(event.key) && tap) tap();
    else if (!key(event.key, event.shiftKey)) return;
    event.preventDefault();
  });
}

function arrowNode(view, world, i) {
  const node = make("g", { class: "arrow", role: "slider", tabindex: 0, "aria-roledescription": "arrow" }, view);
  set(node, { "aria-valuemin": -180, "aria-valuemax": 180, "data-feature": NAMES[i] });
  const shaft = make("line", { class: "shaft" }, node), head = make("path", { class: "head" }, node);
  const ring = make("circle", { r: 17, class: "ring" }, node), label = make("text", { class: "name" }, node);
  const grip = make("circle", { r: 28, class: "grip" }, node);
  const place = (d) => {
    const length = Math.min(LONGEST, Math.max(SHORTEST, norm(d)));
    world.change({ W: world.W.map((row, j) => (j === i ? polarPoint(length, angleOf(d)) : row)) });
  };
  const turn = (by, longer) => place(polarPoint(norm(world.W[i]) + longer, angleOf(world.W[i]) + (by * Math.PI) / 180));
  draggable(node, {
    at: () => world.W[i],
    move: place,
    tap: () => world.change({ pushed: i }),
    key: (key, fine) => {
      const by = { ArrowLeft: [5, 0], ArrowRight: [-5, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[key];
      if (by) turn(...scaled(by, fine ? 0.2 : 1));
      return by;
    },
  });
  return () => {
    const d = world.W[i], angle = angleOf(d), tip = pixel(d), pushed = world.pushed === i;
    const back = plus(tip, scaled([-Math.cos(angle), Math.sin(angle)], 14));
    const side = scaled([Math.sin(angle), Math.cos(angle)], 7);
    set(shaft, line(pixel([0, 0]), back));
    head.setAttribute("d", `M${tip} L${plus(back, side)} L${plus(back, scaled(side, -1))} Z`);
    for (const circle of [ring, grip]) set(circle, { cx: tip[0], cy: tip[1] });
    put(label, pixel(polarPoint(norm(d) + 0.14, angle)), NAMES[i]);
    node.classList.toggle("pushed", pushed);
    const turnedBy = Math.round(degrees(angle));
    set(node, {
      "aria-label": `Feature ${NAMES[i]}${pushed ? ", pushed" : ""}`,
      "aria-valuenow": turnedBy,
      "aria-valuetext": `${turnedBy} degrees, length ${norm(d).toFixed(2)}`,
    });
  };
}

function startNode(view, world) {
  const node = make("g", { class: "start", role: "slider", tabindex: 0 }, view);
  set(node, { "aria-label": "Hidden state at the start", "aria-valuemin": -1, "aria-valuemax": 1 });
  const ring = make("circle", { r: 17, class: "ring" }, node), dot = make("circle", { r: 7, class: "dot" }, node);
  const grip = make("circle", { r: 28, class: "grip" }, node);
  const place = (h) => world.change({ start: h.map((value) => Math.min(1, Math.max(-1, value))) });
  draggable(node, {
    at: () => world.start,
    move: place,
    key: (key, fine) => {
      const by = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[key];
      if (by) place(plus(world.start, scaled(by, fine ? 0.2 : 1)));
      return by;
    },
  });
  return () => {
    const [cx, cy] = pixel(world.start), [x, y] = world.start;
    for (const circle of [ring, dot, grip]) set(circle, { cx, cy });
    set(node, { "aria-valuenow": x.toFixed(2), "aria-valuetext": `${signed(x)} across, ${signed(y)} up` });
  };
}

/**
 * A plane of the world's arrows; returns what redraws it. Asked anew at every change: angle() of the hidden units' axes;
 * paths() [{points, mark}] of hidden states; side(), the direction whose half-plane of arrows rises, or null.
 */
function plane(host, world, { label, angle = () => 0, paths, side = () => null, units = true, start = false }) {
  const view = make("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "plane" }, host);
  set(view, { role: "group", "aria-label": label });
  const half = make("rect", { class: "rises", x: SIZE / 2, y: -SIZE, width: SIZE, height: 3 * SIZE }, view);
  const words = ["rise", "fall"].map((word) => make("text", { class: "word" }, view));
  make("circle", { class: "unit", cx: SIZE / 2, cy: SIZE / 2, r: UNIT }, view);
  const axes = (units ? [0, 1] : []).map(() => make("line", { class: "axis" }, view));
  const names = axes.map(() => make("text", { class: "axis-name" }, view));
  const arrows = world.W.map((_, i) => arrowNode(view, world, i));
  const drawn = make("g", { class: "paths" }, view);
  const begun = start ? startNode(view, world) : () => {};
  return () => {
    axes.forEach((axis, i) => {
      const end = polarPoint(3, angle() + (i * Math.PI) / 2);
      set(axis, line(pixel(scaled(end, -1)), pixel(end)));
      put(names[i], pixel(polarPoint(1.3, angle() + (i * Math.PI) / 2 - 0.07)), `unit ${i + 1}`);
    });
    const toward = side();
    for (const node of [half, ...words]) node.style.display = toward ? "" : "none";
    if (toward) {
      const at = angleOf(toward);
      half.setAttribute("transform", `rotate(${-degrees(at)} ${SIZE / 2} ${SIZE / 2})`);
      const inCorner = (dx, dy) => [SIZE / 2 + 0.72 * dx * (SIZE / 2), SIZE / 2 - 0.88 * dy * (SIZE / 2)];
      const corners = [[1, 1], [-1, 1], [-1, -1], [1, -1]].sort((a, b) => dot(b, toward) - dot(a, toward));
      put(words[0], inCorner(...corners[0]), "these rise");
      put(words[1], inCorner(...corners[3]), "these fall");
    }
    arrows.forEach((draw) => draw());
    drawn.replaceChildren();
    for (const { points, mark } of paths()) {
      make("polyline", { points: points.map(pixel).join(" "), class: `path ${mark}` }, drawn);
      const [cx, cy] = pixel(points.at(-1));
      make("circle", { cx, cy, r: 5, class: `end ${mark}` }, drawn);
    }
    begun();
  };
}

/** Leakage against cosine: update(series [{mark, points: [{t, j, x, y}]}], the pushed feature, whose points stand out). */
function scatter(host, label) {
  const view = make("svg", { viewBox: "0 0 400 340", class: "scatter", role: "img", "aria-label": label }, host);
  const [left, top, width, height, edge] = [50, 12, 336, 270, 1.6]; // what lies beyond the edge is drawn on it
  const across = (x) => left + (width * (x + 1.05)) / 2.1;
  const down = (y) => top + (height * (edge - Math.max(-edge, Math.min(edge, y)))) / (2 * edge);
  const at = (x, y) => [across(x), down(y)];
  make("rect", { x: left, y: top, width, height, class: "frame" }, view);
  for (const tick of [-1, 0, 1]) {
    make("line", { ...line(at(tick, -edge), at(tick, edge)), class: tick ? "grid" : "zero" }, view);
    make("line", { ...line(at(-1.05, tick), at(1.05, tick)), class: tick ? "grid" : "zero" }, view);
    const name = String(tick).replace("-", "−");
    put(make("text", { "text-anchor": "middle" }, view), [across(tick), top + height + 18], name);
    put(make("text", { "text-anchor": "end" }, view), [left - 6, down(tick) + 5], name);
  }
  make("line", { ...line(at(-1, -1), at(1, 1)), class: "law" }, view);
  const [below, beside] = [0, 1].map(() => make("text", { "text-anchor": "middle" }, view));
  put(below, [left + width / 2, 332], "cosine of the two arrows");
  beside.setAttribute("transform", "rotate(-90)");
  put(beside, [-(top + height / 2), 14], "leakage (1: as much as the pushed)");
  const dots = make("g", {}, view);
  const circle = (x, y) => `M${x - 6} ${y} a6 6 0 1 0 12 0 a6 6 0 1 0 -12 0`;
  const cross = (x, y) => `M${x - 5} ${y - 5} l10 10 m0 -10 l-10 10`;
  return (series, pushed) => {
    dots.replaceChildren();
    for (const { mark, points } of series) {
      for (const { t, j, x, y } of [...points].sort((a, b) => (a.t === pushed) - (b.t === pushed))) {
        const [cx, cy] = at(x, y), mine = t === pushed;
        const d = (mark === "cross" ? cross : circle)(cx, cy);
        make("path", { d, class: `point ${mark}${mine ? " mine" : ""}` }, dots);
        if (!mine || mark !== series.at(-1).mark) continue;
        put(make("text", { class: "point-name" }, dots), [cx + 8, cy - 7], NAMES[j]);
      }
    }
  };
}
