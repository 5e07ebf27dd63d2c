"use strict";
// Fills the page from the data in it. All charts are Observable Plot's; what is here chooses their data and their words.
const data = JSON.parse(document.getElementById("data").textContent);
const { runs, prompt, views, model } = data;
for (const run of runs) run.reads = unpacked(run.reads);
const layers = d3.range(model.layers);
const attends = (layer) => model.attending.includes(layer);
const state = { run: runs.length > 1 ? 1 : 0, token: 0, layer: 0, part: 0, flow: 0, first: 0, last: 0 };
const wanted = runs[state.run].stages.at(-1)?.layer ?? Math.floor(model.layers / 2);
state.layer = layers.find((layer) => layer >= wanted && attends(layer)) ?? wanted;
const ALL_AT_ONCE = 6; // views; of more, one is shown large and all are small, drawn when they come into sight
const MOST_SQUARES = 4000; // of a view, each with an outline of its own; of more, one image is made
const several = views.length > ALL_AT_ONCE;
const moving = views.length > 0 && views.every((view) => view.frame != null);
const SYMBOLS = ["circle", "square", "triangle", "diamond2", "cross"];

/** Rows of numbers that came as the bytes of fp32, little-endian; null for NaN. */
function unpacked({ shape: [tokens, depth, columns], fp32 }) {
  const numbers = new Float32Array(Uint8Array.from(atob(fp32), (letter) => letter.charCodeAt(0)).buffer);
  const row = (first) => Array.from(numbers.subarray(first, first + columns), (value) => (Number.isNaN(value) ? null : value));
  return d3.range(tokens).map((token) => d3.range(depth).map((layer) => row((token * depth + layer) * columns)));
}

// -- small helpers ------------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const make = (tag, options = {}, ...children) => {
  const { dataset, ...rest } = options;
  const node = Object.assign(document.createElement(tag), rest);
  node.append(...children);
  return node;
};
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const runColour = (number) => css(`--run${number === 0 ? 0 : 1 + ((number - 1) % 4)}`);
const shortName = (number) => {
  const kinds = runs.map((run) => run.method?.split("(")[0] ?? "dense");
  return kinds.filter((kind) => kind === kinds[number]).length > 1 ? `${kinds[number]} (${number})` : kinds[number];
};
const runName = (number) => runs[number].method ?? "whole model (dense)";
const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);
const word = (text) => (text.trim() === "" ? text.replaceAll("\n", "⏎").replaceAll(" ", "␣") || "␣" : text.trim());
const short = (text, most = 12) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const si = (value) => d3.format(".3~s")(value).replace("G", " G").replace("T", " T").replace("M", " M").replace("k", " k");
const bytes = (value) => {
  const unit = value >= 2 ** 30 ? [30, "GiB"] : value >= 2 ** 20 ? [20, "MiB"] : [10, "KiB"];
  return `${(value / 2 ** unit[0]).toFixed(2)} ${unit[1]}`;
};
const seconds = (value) => (value >= 1 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(0)} ms`);
const roomOf = (node) => Math.max(240, node.clientWidth);

/** A chart that says what it shows to who cannot see it. */
function chart(label, options) {
  const svg = Plot.plot({ style: { background: "none", color: "inherit", fontFamily: "inherit", fontSize: "12px" }, ...options });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return unlabelled(svg);
}
/** Plot names the parts of a chart by their kinds ("rect"), which tells nobody anything. */
function unlabelled(svg) {
  svg.querySelectorAll("g[aria-label]").forEach((part) => part.removeAttribute("aria-label"));
  return svg;
}
const scaleOf = (color) => unlabelled(Plot.legend({ color, width: 280, style: { background: "none", color: "inherit" } }));
function keys(names, colours) {
  const list = make("ul", { className: "keys" });
  names.forEach((name, place) => {
    const svg = Plot.plot({
      width: 26, height: 12, margin: 0, axis: null, x: { domain: [0, 2] }, y: { domain: [-1, 1] },
      marks: [Plot.lineY([[0, 0], [2, 0]], { stroke: colours[place], strokeWidth: 2 }), Plot.dot([[1, 0]], { symbol: SYMBOLS[place % 5], fill: colours[place], r: 4 })],
    });
    svg.setAttribute("aria-hidden", "true");
    list.append(make("li", {}, svg, ` ${name}`));
  });
  return list;
}
function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { textContent: text, scope: "col" })));
  const body = rows.map(([name, ...cells]) =>
    make("tr", {}, make("th", { textContent: name, scope: "row" }), ...cells.map((text) => make("td", { textContent: text }))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

// -- what is where ------------------------------------------------------------------------------------------------------

/** The cells of a view in the units of its picture, or in cells where it lies over none. */
function cellsOf(view) {
  const [left, top, right, bottom] = view.box ?? [0, 0, view.columns, view.rows];
  const [across, down] = [(right - left) / view.columns, (bottom - top) / view.rows];
  return view.tokens.map((number, place) => {
    const [row, column] = [Math.floor(place / view.columns), place % view.columns];
    const [x1, y1] = [left + column * across, top + row * down];
    return { number, row, column, x1, y1, x2: x1 + across, y2: y1 + down };
  });
}
function frameOf(view) {
  const [left, top, right, bottom] = view.box ?? [0, 0, view.columns, view.rows];
  const picture = view.picture == null ? null : data.pictures[view.picture];
  if (!picture) return { x: [left, right], y: [top, bottom], picture };
  return { x: [Math.min(0, left), Math.max(picture.width, right)], y: [Math.min(0, top), Math.max(picture.height, bottom)], picture };
}
/** The tokens of a view by their numbers on the colour scale, null for no colour: one image of as many pixels. */
function pixels(view, fill, fillOpacity) {
  const [left, top, right, bottom] = view.box ?? [0, 0, view.columns, view.rows];
  const values = d3.range(view.rows * view.columns).map((place) => (place < view.tokens.length ? fill(view.tokens[place]) : null) ?? NaN);
  return Plot.raster(values, { width: view.columns, height: view.rows, x1: left, x2: right, y1: top, y2: bottom, imageRendering: "pixelated", fill: Plot.identity, fillOpacity });
}
/** The same as squares with edges, where they are not very many. */
function squares(view, fill, fillOpacity, edges = {}) {
  if (view.tokens.length > MOST_SQUARES) return pixels(view, fill, fillOpacity);
  const cells = cellsOf(view).map((cell) => ({ ...cell, value: fill(cell.number) })).filter((cell) => cell.value != null);
  return Plot.rect(cells, { x1: "x1", x2: "x2", y1: "y1", y2: "y2", fill: "value", fillOpacity, ...edges });
}
const [CLEAR, DARK] = [0, 1];
const KEPT = { type: "linear", domain: [CLEAR, DARK], range: ["#f4c95d", "#15181d"] };
/** Where the mouse is, what there is to say of the cell. */
const told = (cells, title) => Plot.tip(cells, Plot.pointer({ x: (cell) => (cell.x1 + cell.x2) / 2, y: (cell) => (cell.y1 + cell.y2) / 2, title, maxRadius: 30 }));
/** What of the frame the model does not look at, as x1, x2, y1, y2. */
function besideBox(view, [x1, x2], [y1, y2]) {
  const [left, top, right, bottom] = view.box;
  return [[x1, left, y1, y2], [right, x2, y1, y2], [left, right, y1, top], [left, right, bottom, y2]].filter(([a, b, c, d]) => b - a > 0.5 && d - c > 0.5);
}
/** A picture with marks over it, in its own proportions. */
function overPicture(view, label, width, marks, more = {}) {
  const { x, y, picture } = frameOf(view);
  const slant = Math.min(2, (y[1] - y[0]) / (x[1] - x[0]));
  const ground = picture
    ? [Plot.image([picture], { src: () => data.shown[view.picture], x: picture.width / 2, y: picture.height / 2,
        width: (width * picture.width) / (x[1] - x[0]), height: (width * slant * picture.height) / (y[1] - y[0]), preserveAspectRatio: "none" })]
    : [];
  const unseen = Plot.rect(picture ? besideBox(view, x, y) : [], { x1: (d) => d[0], x2: (d) => d[1], y1: (d) => d[2], y2: (d) => d[3], fill: "#8f96a2", fillOpacity: 0.72 });
  return chart(label, { width, height: width * slant, margin: 0, axis: null, x: { domain: x }, y: { domain: y, reverse: true }, marks: [...ground, unseen, ...marks], ...more });
}
for (const stage of runs.flatMap((run) => run.stages)) {
  stage.held = new Set(stage.kept);
  stage.places = new Map((stage.present ?? []).map((number, place) => [number, place]));
}
const keptAt = (run, layer) => d3.greatest(run.stages.filter((stage) => stage.layer <= layer), (stage) => stage.layer);
/** What the cuts up to a layer said of an image token. */
function verdict(run, layer, number) {
  const seen = run.stages.filter((stage) => stage.layer <= layer && stage.places.has(number));
  const stage = seen.at(-1);
  if (!stage) return "no cut has looked at it yet";
  const place = stage.places.get(number);
  const kept = stage.held.has(number) ? "kept" : "dropped";
  if (!stage.scores) return `${kept} before layer ${stage.layer}, without scores`;
  return `${kept} before layer ${stage.layer}: rank ${stage.ranks[place]} of ${stage.present.length}, score ${d3.format(".3~g")(stage.scores[place])}`;
}
const shortCaption = (view) => (view.frame != null ? `frame ${view.frame + 1}` : view.picture != null && data.pictures.length > 1 ? `picture ${view.picture + 1}` : view.name);
const captionOf = (view) => `${shortCaption(view)}${shortCaption(view) === view.name ? "" : `: ${view.name}`}, ${view.rows} × ${view.columns} tokens`;

// -- sections -----------------------------------------------------------------------------------------------------------

function showHead() {
  $("question").textContent = data.question || "One prompt, looked into";
  const tokens = d3.rollup(prompt.groups, (all) => all.length, (group) => group);
  $("model").textContent = `${model.name} (${model.class}, ${model.layers} layers, ${model.dtype} on ${model.device}): `
    + `${tokens.get("image") ?? 0} image tokens, ${tokens.get("system") ?? 0} tokens of text before them, ${tokens.get("instruction") ?? 0} after.`;
  const pruned = runs.slice(1);
  $("parting").textContent = pruned.length === 0 ? "" : pruned.map((run, place) =>
    run.parts == null ? `${runName(place + 1)} gives the same answer.`
      : `${runName(place + 1)} parts from the whole model at token ${run.parts + 1}, dashed.`).join(" ");
  $("unplaced").textContent = data.unplaced ? `Tokens are shown in their order, not over the picture: ${data.unplaced}.` : "";
  $("run").replaceChildren(...runs.map((_, number) => make("option", { value: number, textContent: runName(number) })));
  Object.assign($("layer"), { max: model.layers - 1, value: state.layer });
  $("part-label").hidden = !several;
  $("part-what").textContent = moving ? "Frame" : "Part";
  $("part").max = views.length - 1;
}
function showControls() {
  $("run").value = state.run;
  const tokens = runs[state.run].tokens;
  state.token = Math.min(state.token, tokens.length - 1);
  $("token").replaceChildren(...tokens.map((token, place) => make("option", { value: place, textContent: `${place + 1}: ${word(token.text)}` })));
  $("token").value = state.token;
  $("layer").value = state.layer;
  $("layer-number").textContent = state.layer;
  $("part").value = state.part;
  $("part-number").textContent = several ? (views[state.part].frame ?? state.part) + 1 : "";
}
function showAnswers() {
  $("answers").replaceChildren(...runs.map((run, number) => {
    const tokens = run.tokens.map((token, place) => {
      const chosen = state.run === number && state.token === place;
      const button = make("button", { type: "button", textContent: word(token.text), title: `token ${place + 1}, id ${token.id}` });
      button.setAttribute("aria-pressed", chosen);
      if (/^<.*>$/.test(token.text.trim())) button.classList.add("special");
      if (run.parts === place) button.classList.add("parts");
      button.onclick = () => { choose({ run: number, token: place }); $("answers").children[number].querySelectorAll("button")[place].focus(); };
      return button;
    });
    const card = make("div", { className: "card" }, make("h3", { textContent: runName(number) }), make("div", { className: "tokens" }, ...tokens));
    card.style.setProperty("--of-run", runColour(number));
    return card;
  }));
}
function showKept() {
  const shown = runs.map((run, number) => [run, number]).filter(([run]) => run.method);
  const all = shown.length ? shown : [[runs[0], 0]];
  const node = $("kept");
  node.replaceChildren();
  for (const [run, number] of all) {
    const stage = keptAt(run, state.layer);
    const kept = keptSet(run, state.layer);
    for (const view of shownViews()) {
      const figure = make("figure", {}, make("figcaption", { textContent:
        `${runName(number)} in layer ${state.layer}, ${captionOf(view)}: ${view.tokens.filter((token) => kept.has(token)).length} kept` }));
      node.append(figure);
      const title = (cell) => `row ${cell.row + 1}, column ${cell.column + 1}\n${verdict(run, state.layer, cell.number)}`;
      figure.append(overPicture(view, `${figure.textContent}; kept squares are clear, the others dark`, Math.min(560, roomOf(figure)), [
        squares(view, (token) => (kept.has(token) ? null : DARK), 0.74),
        squares(view, (token) => (kept.has(token) ? CLEAR : null), view.box ? 0 : 1, { stroke: "#ffc400", strokeOpacity: stage ? 0.95 : 0.3, inset: 0.5 }),
        told(cellsOf(view), title),
      ], { color: KEPT }));
    }
    if (stage) node.lastChild.append(keptTable(run, number, stage));
  }
  showKeptParts(all);
}
const shownViews = () => (several ? [views[state.part]] : views);
function keptSet(run, layer) {
  return keptAt(run, layer)?.held ?? new Set(d3.range(prompt.image_columns.length));
}
/** How much of each part stayed, and all parts small. */
function showKeptParts(all) {
  const node = $("kept-parts");
  node.replaceChildren();
  if (!several) return;
  const [run, number] = all.find(([, each]) => each === state.run) ?? all[0];
  along(node, `Tokens kept in layer ${state.layer} ${moving ? "over time" : "in each part"}`, d3.format(","), "tokens", all.map(([each, place]) => {
    const kept = keptSet(each, state.layer);
    return { name: shortName(place), colour: runColour(place), values: views.map((view) => d3.sum(view.tokens, (token) => kept.has(token))) };
  }));
  const kept = keptSet(run, state.layer);
  node.append(make("p", { className: "how", textContent: `${runName(number)} in layer ${state.layer}; press one to see it large.` }),
    strip((view) => `${d3.sum(view.tokens, (token) => kept.has(token))} kept`, (view, width) => overPicture(view, "", width, [
      pixels(view, (token) => (kept.has(token) ? (view.box ? null : CLEAR) : DARK), 0.74),
    ], { color: KEPT })));
}
/** Lines over the parts of a prompt, as `lines` draws them over its layers. */
function along(node, caption, label, unit, series) {
  lines(node, caption, label, unit, series, { along: { label: moving ? "frame" : "part", places: views.map((view, place) => (view.frame ?? place) + 1) } });
}
/** All parts small, each drawn when it comes into sight; one that is pressed is chosen. */
function strip(said, draw) {
  const node = make("div", { className: "strip" });
  const drawn = (target) => {
    watch.unobserve(target);
    const svg = draw(views[target.dataset.part], 104);
    svg.setAttribute("aria-hidden", "true");
    target.prepend(svg);
  };
  const watch = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => drawn(target)));
  node.drawAll = () => node.querySelectorAll("button:not(:has(svg))").forEach(drawn);
  views.forEach((view, part) => {
    const button = make("button", { type: "button" }, `${moving ? shortCaption(view) : `part ${part + 1}`}: ${said(view)}`);
    button.dataset.part = part;
    button.style.setProperty("--shape", view.columns / view.rows);
    button.setAttribute("aria-pressed", part === state.part);
    button.onclick = () => { const here = node.parentNode.id; choose({ part }); $(here).querySelectorAll(".strip button")[part].focus(); };
    node.append(button);
    watch.observe(button);
  });
  return node;
}
function keptTable(run, number, stage) {
  const places = new Map(views.flatMap((view, of) => cellsOf(view).map((cell) => [cell.number, { ...cell, of }])));
  const rows = stage.kept.map((token) => ({ token, place: stage.places.get(token), cell: places.get(token) }));
  const ranked = stage.ranks ? d3.sort(rows, (row) => stage.ranks[row.place]) : rows;
  const said = ranked.slice(0, 100).map(({ token, place, cell }) => [`${token}`, cell ? `${cell.row + 1}` : "–", cell ? `${cell.column + 1}` : "–",
    stage.ranks ? `${stage.ranks[place]}` : "–", stage.scores ? d3.format(".4~g")(stage.scores[place]) : "–"]);
  const box = make("div", { className: "wide", tabIndex: 0 }, table(["image token", "row", "column", "rank", "score"], said));
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", `Tokens kept by ${runName(number)}`);
  box.style.maxHeight = "16rem";
  return make("details", {}, make("summary", { textContent: `The ${Math.min(100, rows.length)} best kept, as a table` }), box);
}
function showReads() {
  const run = runs[state.run];
  const row = run.reads[state.token]?.[state.layer];
  for (const id of ["reads", "reads-parts", "words", "shares", "reads-legend"]) $(id).replaceChildren();
  if (!row) {
    $("thumbs").replaceChildren();
    $("reads-what").textContent = `This page has room for the maps of the first ${run.reads.length} tokens; report.data has all.`;
    return;
  }
  const ofToken = run.reads[state.token].map((read) => prompt.image_columns.map((column) => read[column]));
  if (attends(state.layer)) showMaps(run, ofToken, row);
  else $("reads-what").textContent = `Layer ${state.layer} has no attention (a recurrence, a convolution or nothing stands in its place), so there is no map of what it reads; layers with one are ${model.attending.join(", ")}.`;
  showThumbs(ofToken);
  showShares(run);
}
function showMaps(run, ofToken, row) {
  const most = d3.max(ofToken[state.layer]) || 1e-6;
  $("reads-what").textContent = `Shown: token ${state.token + 1} (“${word(run.tokens[state.token].text)}”) of ${runName(state.run)} in layer ${state.layer}; `
    + `the picture gets ${percent(d3.sum(ofToken[state.layer]))} of it. Tokens without colour are not there in this layer.`;
  const colour = { type: "sqrt", domain: [0, 100 * most], scheme: "inferno", label: "share of its attention that one image token gets (%)" };
  $("reads-legend").append(scaleOf(colour));
  for (const view of shownViews()) {
    const figure = make("figure", { className: "grey" }, make("figcaption", { textContent: captionOf(view) }));
    $("reads").append(figure);
    const shareOf = (token) => ofToken[state.layer][token];
    const label = (cell) => `row ${cell.row + 1}, column ${cell.column + 1}\n${shareOf(cell.number) == null ? "not there in this layer" : percent(shareOf(cell.number), 3)}`;
    figure.append(overPicture(view, `Attention over ${captionOf(view)}; brighter is more`, Math.min(560, roomOf(figure)), [
      squares(view, (token) => (shareOf(token) == null ? null : 100 * shareOf(token)), 0.78),
      told(cellsOf(view), label),
    ], { color: colour }));
  }
  if (several) showReadParts(ofToken[state.layer], colour);
  showWords(run, row);
}
/** How much is read of each part, and all parts small. */
function showReadParts(shares, colour) {
  const node = $("reads-parts");
  const ofView = (view) => d3.sum(view.tokens, (token) => shares[token] ?? 0);
  along(node, `Share of its attention ${moving ? "over time" : "that each part gets"}`, (value) => `${value.toFixed(2)} %`, "share (%)",
    [{ name: shortName(state.run), colour: runColour(state.run), values: views.map((view) => 100 * ofView(view)) }]);
  node.append(strip((view) => percent(ofView(view)), (view, width) => overPicture(view, "", width, [
    pixels(view, (token) => (shares[token] == null ? null : 100 * shares[token]), 0.78),
  ], { color: colour })));
}
function showThumbs(ofToken) {
  const view = several ? views[state.part] : d3.greatest(views, (each) => each.tokens.length);
  if (!view) return;
  const shown = `${state.run} ${state.token} ${state.part}`;
  if ($("thumbs").dataset.shown !== shown || !$("thumbs").children.length) drawThumbs(view, ofToken);
  $("thumbs").dataset.shown = shown;
  [...$("thumbs").children].forEach((button, layer) => button.setAttribute("aria-pressed", layer === state.layer));
}
function drawThumbs(view, ofToken) {
  $("thumbs").replaceChildren();
  for (const layer of layers) {
    if (!attends(layer)) { $("thumbs").append(layerButton(layer, "no map")); continue; }
    const most = d3.max(view.tokens, (number) => ofToken[layer][number]) || 1e-6;
    const values = view.tokens.map((number) => ofToken[layer][number] ?? NaN);
    const svg = Plot.plot({
      width: 96, height: Math.min(160, (96 * view.rows) / view.columns), margin: 0, axis: null, color: { type: "sqrt", domain: [0, most], scheme: "inferno" },
      x: { domain: [0, view.columns] }, y: { domain: [0, view.rows], reverse: true },
      marks: [Plot.raster(values.concat(Array(view.rows * view.columns - values.length).fill(NaN)), { width: view.columns, height: view.rows, imageRendering: "pixelated" })],
    });
    svg.setAttribute("aria-hidden", "true");
    $("thumbs").append(layerButton(layer, svg));
  }
}
function layerButton(layer, shown) {
  const button = make("button", { type: "button" }, shown, make("span", { textContent: `layer ${layer}` }));
  button.onclick = () => { choose({ layer }); $("thumbs").children[layer].focus(); };
  return button;
}
function showWords(run, row) {
  const texts = prompt.words.map((text, place) => ({ text, share: row[place], group: prompt.groups[place] }));
  run.tokens.slice(0, state.token).forEach((token, place) => texts.push({ text: token.text, share: row[prompt.words.length + place], group: "answer" }));
  const most = d3.max(texts.filter((each) => each.group !== "image"), (each) => each.share) || 1;
  let inPicture = 0;
  for (const { text, share, group } of texts) {
    if (group === "image") { inPicture += 1; continue; }
    if (inPicture) $("words").append(make("span", { className: "picture", textContent: `[picture: ${inPicture} tokens]` }), " ");
    inPicture = 0;
    const span = make("span", { className: group, textContent: word(text), title: percent(share, 2) });
    span.style.setProperty("--share", (share ?? 0) / most);
    $("words").append(span, " ");
  }
  if (inPicture) $("words").append(make("span", { className: "picture", textContent: `[picture: ${inPicture} tokens]` }));
}
function showShares(run) {
  const names = { image: "picture", system: "text before", instruction: "text after", answer: "answer so far" };
  const shares = model.attending.flatMap((layer) => {
    const read = run.reads[state.token][layer];
    const sums = d3.rollup(read.map((share, column) => [prompt.groups[column] ?? "answer", share ?? 0]), (all) => d3.sum(all, (each) => each[1]), (each) => each[0]);
    return Object.keys(names).map((group) => ({ layer, group: names[group], share: 100 * (sums.get(group) ?? 0) }));
  });
  const node = $("shares");
  node.append(chart("Shares of attention in each layer", {
    width: Math.min(900, roomOf(node)), height: 230, marginLeft: 44, x: { label: "layer", interval: 1, tickFormat: "d", domain: layers },
    y: { label: "share of attention (%)", domain: [0, 100] },
    color: { legend: true, domain: Object.values(names), range: ["#e69f00", "#56b4e9", "#0072b2", "#cc79a7"] },
    marks: [
      Plot.barY(shares, { x: "layer", y: "share", fill: "group", order: Object.values(names), tip: { format: { y: ".1f" } } }),
      Plot.barY([{ layer: state.layer }], { x: "layer", y1: 0, y2: 100, fill: "none", stroke: "currentColor", strokeWidth: 2 }),
    ],
  }));
}
function showLens() {
  const run = runs[state.run];
  for (const id of ["lens", "lens-table", "lens-legend"]) $(id).replaceChildren();
  if (!run.lens) { $("lens").textContent = `There is no lens here: ${run.no_lens}.`; return; }
  const cells = run.lens.words.flatMap((depths, token) => depths.map((words, depth) => ({
    token, depth, word: word(words[0]), share: 100 * run.lens.probabilities[token][depth][0],
    title: words.map((each, rank) => `${word(each)}  ${percent(run.lens.probabilities[token][depth][rank])}`).join("\n"),
  })));
  const colour = { domain: [0, 100], scheme: "blues", label: "probability of the word (%)" };
  $("lens-legend").append(scaleOf(colour));
  const width = Math.max(Math.min(roomOf($("lens")), 260 + 90 * run.tokens.length), 60 + 74 * run.tokens.length);
  $("lens").append(chart("Likeliest word at each depth, for each answer token", {
    width, height: 60 + 24 * (model.layers + 1), marginLeft: 44, marginTop: 34, color: colour, padding: 0.04,
    x: { axis: "top", label: "answer token", tickFormat: (place) => short(word(run.tokens[place].text), 9), domain: d3.range(run.tokens.length) }, y: { label: "depth" },
    marks: [
      Plot.cell(cells, { x: "token", y: "depth", fill: "share" }),
      Plot.cell(cells, { x: "token", y: "depth", filter: (cell) => cell.token === state.token, fill: "none", stroke: "#d55e00", strokeWidth: 2 }),
      Plot.text(cells, { x: "token", y: "depth", text: (cell) => short(cell.word), fill: (cell) => (cell.share > 55 ? "white" : "black") }),
      Plot.tip(cells, Plot.pointer({ x: "token", y: "depth", title: "title" })),
    ],
  }));
  const rows = run.lens.words[state.token].map((words, depth) => [`${depth}`, ...words.map((each, rank) => `${word(each)} ${percent(run.lens.probabilities[state.token][depth][rank])}`)]);
  $("lens-table").append(table(["depth", ...rows[0].slice(1).map((_, rank) => `${rank + 1}.`)], rows));
}
function lines(node, caption, label, unit, series, options = {}) {
  const { label: across, places } = options.along ?? { label: "layer", places: layers };
  const figure = make("figure", {}, make("figcaption", { textContent: caption }));
  if (!options.keyed) figure.append(keys(series.map((each) => each.name), series.map((each) => each.colour)));
  node.append(figure);
  figure.append(chart(caption, {
    width: Math.min(900, roomOf(figure)), height: 230, marginLeft: 52, x: { label: across, ticks: places.length > 12 ? undefined : places, tickFormat: "d" },
    y: { label: unit, grid: true, zero: true, tickFormat: options.ticks }, symbol: { range: SYMBOLS },
    marks: series.flatMap((each, place) => {
      const points = each.values.map((value, place) => ({ place: places[place], value, title: `${each.name}, ${across} ${places[place]}\n${label(value)}` }));
      return [
        Plot.line(points, { x: "place", y: "value", stroke: each.colour, strokeWidth: 2, strokeDasharray: place === 0 ? null : place === 1 ? "7 3" : "2 3" }),
        Plot.dot(points, { x: "place", y: "value", fill: each.colour, symbol: SYMBOLS[place % 5], r: 4, title: "title", tip: true }),
      ];
    }),
  }));
}
function showFlows() {
  $("flows").replaceChildren();
  if (!data.saliency) { $("flows-none").textContent = `It is not there: ${data.no_saliency}.`; return; }
  const of = (name) => data.saliency.layers.map((row) => row[name]);
  const number = d3.format(".3~g");
  lines($("flows"), "How much one token of a region is read", number, "saliency per token", [
    { name: "text before (S_sys)", colour: css("--run1"), values: of("s_sys") },
    { name: "picture (S_img)", colour: css("--run2"), values: of("s_img") },
    { name: "text after (S_ins)", colour: css("--run3"), values: of("s_ins") },
  ], { ticks: "~g" });
  lines($("flows"), "Flows out of the picture", number, "saliency per image token", [
    { name: "to the picture itself (S_vv)", colour: css("--run2"), values: of("s_vv") },
    { name: "to the text after (S_vt)", colour: css("--run3"), values: of("s_vt") },
  ], { ticks: "~g" });
}
const GROUPS = { image: "the picture", instruction: "the text after the picture", last: "the last prompt token", system: "the text before the picture" };
function showKnocked() {
  const node = $("knocked");
  node.replaceChildren();
  if (!data.knock_outs) { node.textContent = `There is none here: ${data.no_knock_outs}.`; return; }
  const flows = d3.groups(data.knock_outs.cells, (cell) => `${cell.source} ${cell.target}`);
  const pick = (label, options, value, change) => {
    const select = make("select", {}, ...options.map(([key, text]) => make("option", { value: key, textContent: text })));
    select.value = value;
    select.onchange = () => { change(Number(select.value)); showKnocked(); [...node.querySelectorAll("select")].find((each) => each.dataset.of === label).focus(); };
    select.dataset.of = label;
    return make("label", {}, `${label} `, select);
  };
  const cells = flows[state.flow][1];
  const firsts = [...new Set(cells.map((cell) => cell.first))];
  const lasts = [...new Set(cells.filter((cell) => cell.first === state.first).map((cell) => cell.last))];
  if (!lasts.includes(state.last)) state.last = lasts[0];
  const cell = cells.find((each) => each.first === state.first && each.last === state.last);
  node.append(make("div", { className: "pick" },
    pick("What if", flows.map(([, [{ source, target }]], place) => [place, `${GROUPS[target]} could not read ${source === target ? "itself" : GROUPS[source]}`]), state.flow, (value) => { state.flow = value; }),
    pick("in layers", firsts.map((first) => [first, first]), state.first, (value) => { state.first = value; }),
    pick("to", lasts.map((last) => [last, last]), state.last, (value) => { state.last = value; })));
  const clean = word(data.knock_outs.first_token.text);
  const said = make("p", { className: "said", textContent: `“${clean}”, the first answer token of the whole model, would have ${percent(cell.of_clean)}; `
    + `the model would ${cell.ids[0] === data.knock_outs.first_token.id ? "still say it." : `say “${word(cell.words[0])}” (${percent(cell.probabilities[0])}).`}` });
  said.setAttribute("aria-live", "polite");
  node.append(said);
  const colour = { domain: [0, 100], scheme: "viridis", label: `probability of “${clean}” (%)` };
  node.append(scaleOf(colour));
  const size = Math.min(440, roomOf(node));
  node.append(chart("Probability of the first answer token by first and last layer of the stretch", {
    width: size, height: 70 + 40 * firsts.length, marginLeft: 50, marginBottom: 40, color: colour, padding: 0.05,
    x: { label: "to layer", domain: [...new Set(cells.map((each) => each.last))].sort(d3.ascending) }, y: { label: "from layer", domain: firsts },
    marks: [
      Plot.cell(cells, { x: "last", y: "first", fill: (each) => 100 * each.of_clean }),
      Plot.text(cells, { x: "last", y: "first", text: (each) => (100 * each.of_clean).toFixed(0), fill: (each) => (each.of_clean > 0.55 ? "black" : "white") }),
      Plot.cell([cell], { x: "last", y: "first", fill: "none", stroke: "#ff5a1f", strokeWidth: 3 }),
    ],
  }));
}
function showCost() {
  $("cost").replaceChildren();
  const series = (name) => runs.map((run, number) => ({ name: shortName(number), colour: runColour(number), values: run[name] }));
  $("cost-keys").replaceChildren(keys(runs.map((_, number) => shortName(number)), runs.map((_, number) => runColour(number))));
  const keyed = true;
  lines($("cost"), "Tokens in each layer (text included)", d3.format(","), "tokens", series("lengths"), { keyed });
  if (runs[0].flops) lines($("cost"), "FLOPs of each layer", si, "FLOPs", series("flops"), { keyed, ticks: "~s" });
  lines($("cost"), "Keys and values of each layer", bytes, "bytes", series("kv_bytes"), { keyed, ticks: "~s" });
  const row = (name, value) => [name, ...runs.map(value)];
  $("totals").replaceChildren(table(["of the run", ...runs.map((_, number) => shortName(number))], [
    ...(runs[0].flops_total == null ? [] : [row("prefill, probes and head included (FLOPs)", (run) => si(run.flops_total))]),
    row("image tokens in the last layer", (run) => `${run.image_tokens.at(-1)}`),
    row("KV cache of the prompt, measured", (run) => bytes(d3.sum(run.kv_bytes))),
    row("time to the first token, median of 3", (run) => seconds(run.times.first_token_s)),
    row("time of the whole answer", (run) => seconds(run.times.answer_s)),
    row("the same with every row taken for this page", (run) => seconds(run.times.look_s)),
    row("memory of these rows, and of states for the lens", (run) => `${bytes(run.memory.rows_bytes)}, ${bytes(run.memory.states_bytes)}`),
  ]));
}
function showAbout() {
  $("about").replaceChildren(
    make("p", { textContent: "Attention and logit lens are rows of the answer as it was generated, beside the model's own attention function: answer tokens × layers × tokens numbers are held, never a map of tokens × tokens." }),
    make("p", { textContent: `Made by visionflow ${data.visionflow} (Apache-2.0), data layout ${data.schema}. Charts by D3 7.9.2 and Observable Plot 0.6.17 (ISC licence, Mike Bostock and Observable, Inc.), inside this file, which asks nothing of any network.` }));
}

// -- together -----------------------------------------------------------------------------------------------------------

function choose(change) {
  const before = { ...state };
  Object.assign(state, change);
  showControls();
  const changed = (...names) => names.some((name) => state[name] !== before[name]);
  if (changed("run", "token")) { showAnswers(); showLens(); }
  if (changed("layer", "part") || (several && changed("run"))) showKept();
  showReads();
}
function showAll() {
  for (const show of [showControls, showAnswers, showKept, showReads, showLens, showFlows, showKnocked, showCost]) show();
}
showHead();
showAll();
showAbout();
$("controls").onsubmit = (event) => event.preventDefault();
$("run").onchange = (event) => choose({ run: Number(event.target.value) });
$("token").onchange = (event) => choose({ token: Number(event.target.value) });
$("part").oninput = (event) => choose({ part: Number(event.target.value) });
$("layer").oninput = (event) => choose({ layer: Number(event.target.value) });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
addEventListener("beforeprint", () => document.querySelectorAll(".strip").forEach((strip) => strip.drawAll()));
let seenWidth = innerWidth;
addEventListener("resize", () => { if (innerWidth !== seenWidth) { seenWidth = innerWidth; showAll(); } });
