/* The chosen design: 3D view, radar, numbers, construction, files. */

/* What a design is compared with: the designer's own model, else a pinned one, else the median. */
function ghostOf(id) {
  const other = [(d) => d.own, (d) => d.pinned]
    .map((test) => DESIGNS.findIndex((d, i) => i !== id && test(d))).find((i) => i >= 0);
  if (other !== undefined && other >= 0) {
    return { label: DESIGNS[other].name, metrics: DESIGNS[other].metrics,
      goals: new Map(DESIGNS[other].goals) };
  }
  const middle = (values) => {
    const known = values.filter((v) => v !== null && v !== undefined).sort((a, b) => a - b);
    return known.length ? known[Math.floor((known.length - 1) / 2)] : null;
  };
  const names = DESIGNS[id].goals.map(([name]) => name);
  return {
    label: "the gallery's median",
    metrics: DATA.metrics.map((metric, k) => middle(DESIGNS.map((d) => d.metrics[k]))),
    goals: new Map(names.map((name) => [name, middle(DESIGNS.map((d) => new Map(d.goals).get(name)))])),
  };
}

function shareOf(value, metric) {
  if (value === null || value === undefined) return null;
  return metric.high > metric.low ? (value - metric.low) / (metric.high - metric.low) : null;
}

/* Outwards is better where the metric has a direction. */
function gainOf(value, metric) {
  const share = shareOf(value, metric);
  return share !== null && metric.better === "less" ? 1 - share : share;
}

function showRadar() {
  const design = DESIGNS[state.chosen], ghost = ghostOf(state.chosen);
  const goals = design.goals.length >= 3;
  const kind = goals ? state.radar : "metrics";
  byId("radar-kind").hidden = !goals;
  for (const button of byId("radar-kind").children) {
    button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  }
  const varying = DATA.metrics.map((m, k) => k).filter((k) => DATA.metrics[k].high > DATA.metrics[k].low);
  const axes = kind === "goals"
    ? design.goals.map(([name, value]) => ({
      label: name.split(/ (?=[<>=≤≥±])/)[0], value, ghost: ghost.goals.get(name) ?? null }))
    : varying.map((k) => ({ label: DATA.metrics[k].label,
      value: gainOf(design.metrics[k], DATA.metrics[k]), ghost: gainOf(ghost.metrics[k], DATA.metrics[k]) }));
  byId("radar").closest("section").hidden = axes.length < 3;
  if (axes.length < 3) return;
  drawRadar(byId("radar"), axes, DESIGNS.length > 1);
  const told = axes.map((a) => `${a.label} ${a.value === null ? "unknown" : Math.round(100 * a.value) + " %"}`);
  byId("radar").setAttribute("aria-label", `Radar of ${design.name}: ${told.join(", ")}`);
  const meaning = kind === "goals" ? "Rim: goal fully met." : "Rim: best of this gallery, where a metric has a better end.";
  byId("radar-note").textContent = DESIGNS.length > 1 ? `${meaning} Dashed: ${ghost.label}.` : meaning;
}

/* One bar: name, number, and a track with the value's place. */
function bar(list, label, shown, share, ghost, title) {
  const term = document.createElement("dt"), value = document.createElement("dd");
  const track = document.createElement("span"), number = document.createElement("b");
  term.textContent = label;
  if (title) term.title = title;
  number.textContent = shown;
  track.className = "track";
  if (share !== null) track.style.setProperty("--p", `${100 * share}%`);
  else track.classList.add("unknown");
  if (ghost !== null && ghost !== undefined) track.style.setProperty("--g", `${100 * ghost}%`);
  else track.classList.add("alone");
  value.append(track, number);
  list.append(term, value);
}

function showBars() {
  const design = DESIGNS[state.chosen], ghost = ghostOf(state.chosen);
  const alone = DESIGNS.length < 2;
  byId("goals").replaceChildren();
  byId("goals-part").hidden = design.goals.length === 0;
  for (const [name, value] of design.goals) {
    bar(byId("goals"), name, `${Math.floor(100 * value + 1e-6)} %`, value, null);
  }
  byId("values").replaceChildren();
  DATA.metrics.forEach((metric, k) => {
    bar(byId("values"), metric.label, withUnit(design.metrics[k], metric),
      shareOf(design.metrics[k], metric), alone ? null : shareOf(ghost.metrics[k], metric), metric.meaning);
  });
}

/* Frames are tiles of one picture; they stand beside their operation where the numbers agree. */
function showConstruction() {
  const design = DESIGNS[state.chosen], list = byId("construction");
  list.replaceChildren();
  const count = Math.max(design.frames, design.actions.length);
  byId("steps-part").hidden = count === 0;
  list.classList.toggle("textual", design.frames === 0);
  for (let i = 0; i < count; i++) {
    const entry = document.createElement("li");
    const action = design.actions[i] ?? "";
    if (i < design.frames) {
      const frame = document.createElement("span");
      frame.className = "frame";
      frame.setAttribute("role", "img");
      frame.setAttribute("aria-label", `After step ${i + 1}`);
      frame.style.backgroundImage = `url("${design.strip}")`;
      frame.style.backgroundSize = `${100 * design.frames}% 100%`;
      frame.style.backgroundPosition = `${design.frames > 1 ? (100 * i) / (design.frames - 1) : 0}% 0`;
      entry.append(frame);
    }
    const caption = document.createElement("span");
    caption.textContent = action;
    entry.append(caption);
    list.append(entry);
  }
}

function showLinks() {
  const design = DESIGNS[state.chosen];
  byId("links").replaceChildren();
  byId("links-part").hidden = design.links.length === 0;
  for (const [kind, address] of design.links) {
    const anchor = document.createElement("a");
    anchor.href = address;
    anchor.download = "";
    anchor.textContent = kind;
    anchor.setAttribute("aria-label", `Download ${kind} of ${design.name}`);
    byId("links").append(anchor);
  }
}

function showBody() {
  const design = DESIGNS[state.chosen], picture = byId("viewer-picture");
  picture.src = design.picture;
  picture.alt = `${design.name}, picture`;
  picture.hidden = Boolean(viewer);
  byId("viewer").hidden = byId("viewer-tools").hidden = !viewer;
  byId("viewer").setAttribute("aria-label", `3D view of ${design.name}`);
  if (viewer) viewer.show(decodeMesh(byId(`mesh-${state.chosen}`)));
}

/* Shows a design beside the pictures, or above them where there is little room. */
function choose(id, open = true) {
  state.chosen = id;
  const design = DESIGNS[id];
  for (const node of document.querySelectorAll("[data-design]")) {
    node.classList.toggle("selected", Number(node.dataset.design) === id);
  }
  byId("subject").textContent = design.name;
  byId("subject-group").textContent = design.group;
  byId("subject-tags").textContent = [design.own ? "your model" : "", design.pinned ? "pinned" : ""].filter(Boolean).join(", ");
  byId("subject-size").textContent = `${design.size.map((side) => plain(Math.round(side * 10) / 10)).join(" × ")} mm`;
  byId("subject-triangles").textContent = `${design.triangles.toLocaleString("en")} triangles`;
  byId("subject-score").textContent = design.score.toFixed(2);
  byId("subject-rule").style.setProperty("--p", `${100 * Math.min(Math.max(design.score, 0), 1)}%`);
  byId("like-subject").checked = state.liked.has(id);
  for (const show of [showBody, showRadar, showBars, showConstruction, showLinks]) show();
  if (open && NARROW.matches) openInspector();
}

let opener = null;

function openInspector() {
  const aside = byId("inspector");
  if (!aside.classList.contains("open")) opener = document.activeElement;
  aside.classList.add("open");
  document.body.classList.add("covered");
  for (const part of [...document.body.children, document.querySelector("main")]) {
    if (!part.contains(aside) && part.tagName !== "SCRIPT") part.inert = true;
  }
  aside.scrollTop = 0;
  byId("subject-title").focus();
}

function closeInspector() {
  byId("inspector").classList.remove("open");
  document.body.classList.remove("covered");
  for (const part of document.querySelectorAll("[inert]")) part.inert = false;
  opener?.focus();
  opener = null;
}
