/* Drawings: radar of one design, scatter of two metrics. Texts are set as text, never as markup. */

function draw(parent, name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

/* axes: [{label, value 0..1 or null, ghost 0..1 or null}], at least three. */
function drawRadar(svg, axes, ghosted) {
  svg.replaceChildren();
  const radius = 92, place = (i, share) => {
    const angle = (2 * Math.PI * i) / axes.length;
    return [Math.sin(angle) * radius * share, -Math.cos(angle) * radius * share];
  };
  const points = (share) =>
    axes.map((axis, i) => place(i, share(axis)).map((x) => x.toFixed(1)).join(",")).join(" ");
  // The centre is not zero: a flat star would hide which axes are low.
  const stretch = (value) => 0.06 + 0.94 * Math.min(Math.max(value, 0), 1);
  svg.setAttribute("viewBox", "-180 -124 360 248");
  for (const share of [0.25, 0.5, 0.75, 1]) {
    draw(svg, "polygon", { class: "web", points: points(() => stretch(share)) });
  }
  axes.forEach((axis, i) => {
    const [x, y] = place(i, 1);
    draw(svg, "line", { class: "web", x1: 0, y1: 0, x2: x, y2: y });
    const side = Math.abs(x) < 8 ? "middle" : x > 0 ? "start" : "end";
    const drop = y < -80 ? -2 : y > 80 ? 9 : 4;
    draw(svg, "text", { x: x * 1.09, y: y * 1.09 + drop, "text-anchor": side }, short(axis.label));
  });
  if (ghosted) draw(svg, "polygon", { class: "ghost", points: points((a) => stretch(a.ghost ?? 0)) });
  draw(svg, "polygon", { class: "shape", points: points((a) => stretch(a.value ?? 0)) });
  axes.forEach((axis, i) => {
    const [x, y] = place(i, stretch(axis.value ?? 0));
    draw(svg, "circle", { class: axis.value === null ? "knot unknown" : "knot", cx: x, cy: y, r: 2.6 });
  });
}

const short = (label) => (label.length > 20 ? `${label.slice(0, 19)}…` : label);

/* Round values from low to high, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(i * step);
  return out;
}

/* Which points no other beats; x and y are such that larger is better. */
function paretoFront(points) {
  const order = [...points].sort((a, b) => b.gain[0] - a.gain[0] || b.gain[1] - a.gain[1]);
  const front = [];
  let best = -Infinity;
  for (const point of order) {
    const twin = front.length && front[front.length - 1].gain.every((g, i) => g === point.gain[i]);
    if (point.gain[1] > best || twin) front.push(point);
    best = Math.max(best, point.gain[1]);
  }
  return front;
}

/* A linear scale with some room at both ends. */
function scaleOf(values, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  low -= room;
  high += room;
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  return { scale, ticks: ticks(low, high, 6) };
}

/* points: [{id, x, y, gain, picture, own, liked, selected, tip}]; axes: {x, y} titles.
   Returns the ids on the front. */
function drawScatter(svg, points, axes, pictures, choose) {
  svg.replaceChildren();
  const width = Math.max(320, svg.clientWidth || 720);
  const height = Math.round(Math.min(Math.max(width * 0.66, 300), 620));
  const plate = pictures ? (width < 560 ? 17 : 26) : 0;
  const box = { left: 64, right: width - 24, top: 20, bottom: height - 52 };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  if (!points.length) return [];
  const x = scaleOf(points.map((p) => p.x), box.left, box.right);
  const y = scaleOf(points.map((p) => p.y), box.bottom, box.top);
  for (const tick of x.ticks) {
    draw(svg, "line", { class: "web", x1: x.scale(tick), x2: x.scale(tick), y1: box.top, y2: box.bottom });
    draw(svg, "text", { x: x.scale(tick), y: box.bottom + 18, "text-anchor": "middle" }, plain(tick));
  }
  for (const tick of y.ticks) {
    draw(svg, "line", { class: "web", x1: box.left, x2: box.right, y1: y.scale(tick), y2: y.scale(tick) });
    draw(svg, "text", { x: box.left - 10, y: y.scale(tick) + 4, "text-anchor": "end" }, plain(tick));
  }
  draw(svg, "text", { class: "title", x: (box.left + box.right) / 2, y: height - 8, "text-anchor": "middle" }, axes.x);
  draw(svg, "text", { class: "title", x: 0, y: 0, "text-anchor": "middle",
    transform: `translate(14 ${(box.top + box.bottom) / 2}) rotate(-90)` }, axes.y);
  const front = paretoFront(points), best = new Set(front.map((p) => p.id));
  draw(svg, "path", { class: "front", d: staircase(front, x.scale, y.scale) });
  const order = [...points].sort((a, b) => a.x - b.x || a.y - b.y || a.id - b.id);
  const marks = order.map((point) => drawMark(svg, point, x.scale(point.x), y.scale(point.y), best, plate));
  // What matters lies on top; walking with the arrow keys still goes from left to right.
  const rank = (point) => 4 * point.selected + 2 * (point.own || point.liked) + best.has(point.id);
  [...marks.keys()].sort((i, j) => rank(order[i]) - rank(order[j])).forEach((i) => svg.append(marks[i]));
  marks.forEach((mark, i) => {
    mark.addEventListener("click", () => choose(order[i].id));
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") choose(order[i].id);
      else if (step) marks[(i + step + marks.length) % marks.length].focus();
      else return;
      event.preventDefault();
    });
  });
  // One stop for the Tab key; arrows walk from left to right.
  (marks[order.findIndex((p) => p.selected)] ?? marks[0]).setAttribute("tabindex", "0");
  return [...best];
}

/* The edge of what is beaten: a step from each front point to the next. */
function staircase(front, x, y) {
  return front.map((point, i) => {
    const [px, py] = [x(point.x), y(point.y)];
    return i ? `H${px.toFixed(1)}V${py.toFixed(1)}` : `M${px.toFixed(1)},${py.toFixed(1)}`;
  }).join("");
}

function drawMark(svg, point, x, y, best, plate) {
  const kinds = ["mark"];
  if (best.has(point.id)) kinds.push("best");
  for (const kind of ["own", "liked", "selected"]) if (point[kind]) kinds.push(kind);
  const mark = draw(svg, "g", { class: kinds.join(" "), tabindex: "-1", role: "button",
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "data-design": point.id });
  mark.setAttribute("aria-label", point.tip);
  draw(mark, "title", {}, point.tip);
  if (plate) {
    draw(mark, "circle", { class: "plate", r: plate });
    draw(mark, "image", { href: point.picture, x: -0.88 * plate, y: -0.88 * plate,
      width: 1.76 * plate, height: 1.76 * plate });
  } else if (point.own) {
    draw(mark, "rect", { class: "dot", x: -6, y: -6, width: 12, height: 12, transform: "rotate(45)" });
  } else {
    draw(mark, "circle", { class: "dot", r: best.has(point.id) ? 6.5 : 5 });
  }
  return mark;
}

/* A number as an axis shows it. */
function plain(value) {
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 4 });
}
