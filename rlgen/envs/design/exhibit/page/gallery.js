/* The page: order, likes, the chosen design. State lives in `state`; show...() puts it on screen. */

const DATA = JSON.parse(document.getElementById("data").textContent);
const DESIGNS = DATA.designs;
const byId = (id) => document.getElementById(id);
const APART = new Uint16Array(
  Uint8Array.from(atob(DATA.apart), (sign) => sign.charCodeAt(0)).buffer);
const NARROW = matchMedia("(max-width: 960px)");
const STORE = `rlgen-gallery-${DATA.key}`;

const state = {
  order: DESIGNS.some((d) => d.pinned) ? "alike" : "score",
  falling: !DESIGNS.some((d) => d.pinned),
  group: "", likedOnly: false, chosen: null, liked: new Set(), view: "sheet", radar: "goals",
};
let viewer = null;

/* Storage may be switched off, full, or closed to local files; likes then last as long as the page. */
function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...state.liked]));
  } catch { /* nothing to be done about it */ }
}

function recall() {
  try {
    const known = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    for (const id of known) if (DESIGNS[id]) state.liked.add(id);
  } catch { /* a list of another hand, or none */ }
}

function format(value, metric) {
  if (value === null) return "–";
  const digits = metric.decimals;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const withUnit = (value, metric) =>
  value === null ? "–" : format(value, metric) + (metric.unit === "°" ? "°" : metric.unit ? ` ${metric.unit}` : "");

/* Distance to the nearest pinned or liked design; those themselves come first. */
function likeness(id) {
  const anchors = DESIGNS.map((d, i) => i).filter((i) => DESIGNS[i].pinned || state.liked.has(i));
  if (anchors.includes(id)) return -1;
  return Math.min(...anchors.map((other) => APART[other * DESIGNS.length + id]), 65536);
}

function sortKey(id) {
  const design = DESIGNS[id];
  if (state.order === "score") return design.score;
  if (state.order === "name") return design.name;
  if (state.order === "alike") return likeness(id);
  return design.metrics[Number(state.order)];
}

/* Numbers by value and names by alphabet; unknown values last in both directions. */
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  const rising = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return state.falling ? -rising : rising;
}

function sorted() {
  const keys = DESIGNS.map((design, id) => sortKey(id));
  return DESIGNS.map((design, id) => id).sort((a, b) => compare(keys[a], keys[b]) || a - b);
}

function visible(id) {
  const groups = [...new Set(DESIGNS.map((d) => d.group))];
  if (state.group !== "" && DESIGNS[id].group !== groups[Number(state.group)]) return false;
  return !state.likedOnly || state.liked.has(id);
}

const shownIds = () => sorted().filter(visible);

function showOrder() {
  const order = sorted();
  for (const parent of [byId("cards"), byId("metrics").tBodies[0]]) {
    const nodes = new Map([...parent.children].map((node) => [Number(node.dataset.design), node]));
    for (const id of order) {
      const node = nodes.get(id);
      node.hidden = !visible(id);
      parent.append(node);
    }
  }
  byId("order").value = state.order;
  byId("direction").classList.toggle("falling", state.falling);
  for (const heading of byId("metrics").querySelectorAll("[data-sort]")) {
    const active = heading.dataset.sort === state.order;
    heading.setAttribute("aria-sort", !active ? "none" : state.falling ? "descending" : "ascending");
  }
  const count = order.filter(visible).length;
  byId("nothing").hidden = count > 0;
  byId("status").textContent = count === DESIGNS.length ? "" : `${count} of ${DESIGNS.length} shown`;
  if (state.view === "map") showScatter();
}

function orderBy(key, falling) {
  state.order = key;
  const metric = DATA.metrics[Number(key)];
  const usual = key === "score" || (metric !== undefined && metric.better !== "less");
  state.falling = falling ?? (key !== "name" && key !== "alike" && usual);
  showOrder();
}

function showLikes() {
  for (const box of document.querySelectorAll("[data-like]")) {
    const on = state.liked.has(Number(box.dataset.like));
    box.checked = on;
    box.closest("[data-design]").classList.toggle("liked", on);
  }
  byId("like-subject").checked = state.chosen !== null && state.liked.has(state.chosen);
  const count = state.liked.size;
  byId("save").disabled = count === 0;
  byId("save").textContent = count ? `Save liked (${count})` : "Save liked";
  const anchored = count > 0 || DESIGNS.some((d) => d.pinned);
  byId("order").querySelector("[value=alike]").disabled = !anchored;
  if (state.order === "alike" && !anchored) orderBy("score");
  else if (state.order === "alike" || state.likedOnly || state.view === "map") showOrder();
}

function like(id, on) {
  if (on) state.liked.add(id);
  else state.liked.delete(id);
  remember();
  showLikes();
}

/* The list that `--pin` reads. */
function likedList() {
  const link = (design) => Object.fromEntries(design.links)["JSON"] ?? null;
  const liked = [...state.liked].sort((a, b) => a - b).map((id) => DESIGNS[id]);
  return {
    format: 1, gallery: DATA.title,
    liked: liked.map((d) => ({ name: d.name, group: d.group, score: d.score, file: link(d) })),
  };
}

function saveLiked() {
  const blob = new Blob([JSON.stringify(likedList(), null, 2) + "\n"], { type: "application/json" });
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = "liked.json";
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

function step(by) {
  const ids = shownIds();
  if (!ids.length) return;
  const at = ids.indexOf(state.chosen);
  choose(ids[(at + by + ids.length) % ids.length]);
}

function showScatter() {
  const [x, y] = ["x", "y"].map((axis) => DATA.metrics[Number(byId(`axis-${axis}`).value)]);
  if (!x || !y) return;
  const [i, j] = [DATA.metrics.indexOf(x), DATA.metrics.indexOf(y)];
  const sign = (axis) => (byId(`want-${axis}`).value === "less" ? -1 : 1);
  const ids = shownIds().filter((id) => DESIGNS[id].metrics[i] !== null && DESIGNS[id].metrics[j] !== null);
  const points = ids.map((id) => {
    const d = DESIGNS[id], [a, b] = [d.metrics[i], d.metrics[j]];
    return { id, x: a, y: b, gain: [a * sign("x"), b * sign("y")], picture: d.picture, own: d.own,
      liked: state.liked.has(id), selected: id === state.chosen,
      tip: `${d.name}: ${x.label} ${withUnit(a, x)}, ${y.label} ${withUnit(b, y)}, score ${d.score.toFixed(2)}` };
  });
  const title = (metric) => metric.label + (metric.unit ? ` in ${metric.unit === "°" ? "degrees" : metric.unit}` : "");
  const front = drawScatter(byId("scatter"), points, { x: title(x), y: title(y) }, byId("as-pictures").checked, choose);
  byId("scatter-note").textContent = points.length
    ? `${front.length} of ${points.length} designs are not beaten in both metrics by another one; the line joins them.`
    : "No design has both metrics.";
}

function prepareScatter() {
  // Start with the trade-off of the goals: something one wants less of against something wanted more.
  const wish = (k) => DATA.metrics[k].better;
  const named = [...new Set(DESIGNS.flatMap((d) => d.goals.map(([name]) => name.split(" ")[0])))];
  const varying = DATA.metrics.map((m, k) => k).filter((k) => DATA.metrics[k].high > DATA.metrics[k].low);
  const goals = named.map((name) => varying.find((k) => DATA.metrics[k].name === name)).filter((k) => k !== undefined);
  const likely = [...goals, ...varying, 0, 1];
  const up = likely.find((k) => wish(k) === "more") ?? likely[0];
  const across = likely.find((k) => k !== up && wish(k) === "less") ?? likely.find((k) => k !== up) ?? up;
  const defaults = [across, up];
  ["x", "y"].forEach((axis, at) => {
    const select = byId(`axis-${axis}`), want = byId(`want-${axis}`);
    DATA.metrics.forEach((metric, k) => select.append(new Option(metric.label, k)));
    const suit = () => { want.value = DATA.metrics[Number(select.value)]?.better === "less" ? "less" : "more"; };
    select.value = defaults[at];
    suit();
    select.addEventListener("change", () => { suit(); showScatter(); });
    want.addEventListener("change", showScatter);
  });
  byId("as-pictures").checked = DESIGNS.length <= 40;
  byId("as-pictures").addEventListener("change", showScatter);
  byId("tab-map").hidden = DATA.metrics.length < 2;
  new ResizeObserver(() => state.view === "map" && showScatter()).observe(byId("view-map"));
}

function showView(name) {
  state.view = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).classList.toggle("current", on);
  }
  if (name === "map") showScatter();
}

function listenTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")].filter((tab) => !tab.hidden);
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => showView(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(i + by + tabs.length) % tabs.length];
      showView(next.id.slice(4));
      next.focus();
      event.preventDefault();
    });
  });
}

function listen() {
  document.addEventListener("click", (event) => {
    const open = event.target.closest("[data-open]");
    if (open) choose(Number(open.dataset.open));
  });
  document.addEventListener("change", (event) => {
    const id = event.target.dataset?.like;
    if (id !== undefined) like(Number(id), event.target.checked);
  });
  for (const heading of byId("metrics").querySelectorAll("[data-sort]")) {
    heading.querySelector("button").addEventListener("click", () => {
      const key = heading.dataset.sort;
      orderBy(key, key === state.order ? !state.falling : undefined);
    });
  }
  byId("order").addEventListener("change", (event) => orderBy(event.target.value));
  byId("direction").addEventListener("click", () => orderBy(state.order, !state.falling));
  byId("group").addEventListener("change", (event) => { state.group = event.target.value; showOrder(); });
  byId("liked-only").addEventListener("change", (event) => { state.likedOnly = event.target.checked; showOrder(); });
  byId("save").addEventListener("click", saveLiked);
  byId("like-subject").addEventListener("change", (event) => like(state.chosen, event.target.checked));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", closeInspector);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && opener) closeInspector(); });
  byId("radar-kind").addEventListener("click", (event) => {
    if (event.target.dataset.kind) { state.radar = event.target.dataset.kind; showRadar(); }
  });
  NARROW.addEventListener("change", () => { if (opener) closeInspector(); });
}

function listenViewer() {
  for (const button of byId("viewer-tools").querySelectorAll("[data-look]")) {
    button.addEventListener("click", () => viewer.look(button.dataset.look));
  }
  for (const [id, set] of [["smooth", "setSmooth"], ["turn", "setTurning"]]) {
    byId(id).addEventListener("click", () => {
      const on = byId(id).getAttribute("aria-pressed") !== "true";
      byId(id).setAttribute("aria-pressed", String(on));
      viewer[set](on);
    });
  }
}

function start() {
  document.documentElement.classList.add("live");
  recall();
  byId("group-field").hidden = new Set(DESIGNS.map((d) => d.group)).size < 2;
  try {
    viewer = new Viewer(byId("viewer"));
    listenViewer();
  } catch { viewer = null; }
  prepareScatter();
  listenTabs();
  listen();
  showView("sheet");
  showLikes();
  showOrder();
  choose(sorted()[0], false);
}

start();
