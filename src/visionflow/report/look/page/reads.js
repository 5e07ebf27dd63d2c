// What the answer token reads: maps over the picture, all layers small, words, and shares by layer.
const SHARES = { image: "picture", system: "text before", instruction: "text after", answer: "answer so far" };
const SHARE_COLOURS = ["#e69f00", "#56b4e9", "#0072b2", "#cc79a7"];

function showReads() {
  for (const id of ["reads", "reads-parts", "words", "shares", "reads-legend"]) $(id).replaceChildren();
  const run = runs[state.run];
  const rows = run.reads[state.token];
  if (!rows) {
    $("thumbs").replaceChildren();
    $("reads-what").textContent =
      `This page has room for the maps of the first ${run.reads.length} tokens; report.data has all.`;
    return;
  }
  const shares = rows.map((row) => prompt.image_columns.map((column) => row[column]));
  if (attends(state.layer)) {
    showMaps(run, shares[state.layer]);
    showWords(run, rows[state.layer]);
  } else {
    $("reads-what").textContent =
      `Layer ${state.layer} has no attention (a recurrence, a convolution or nothing stands in its place), so there is ` +
      `no map of what it reads; layers with one are ${model.attending.join(", ")}.`;
  }
  showThumbs(shares);
  showShares(rows);
}
/** Maps of what each image token gets, by its number, in the layer that is chosen. */
function showMaps(run, shares) {
  $("reads-what").textContent =
    `Shown: token ${state.token + 1} (“${word(run.tokens[state.token].text)}”) of ${runName(state.run)} in layer ` +
    `${state.layer}; the picture gets ${percent(d3.sum(shares))} of it. Tokens without colour are not there in this layer.`;
  const label = "share of its attention that one image token gets (%)";
  const colour = { type: "sqrt", domain: [0, 100 * (d3.max(shares) || 1e-6)], scheme: "inferno", label };
  const fill = (token) => (shares[token] == null ? null : 100 * shares[token]);
  const said = (token) => (shares[token] == null ? "not there in this layer" : percent(shares[token], 3));
  $("reads-legend").append(scaleOf(colour));
  for (const view of shownViews()) {
    const figure = figureIn($("reads"), captionOf(view), "grey");
    const marks = [squares(view, fill, 0.78), told(view, said)];
    figure.append(
      overPicture(view, `Attention over ${captionOf(view)}; brighter is more`, roomIn(figure, 560), marks, colour),
    );
  }
  if (several) showReadParts(shares, fill, colour);
}
/** How much is read of each part, and all parts small. */
function showReadParts(shares, fill, colour) {
  const node = $("reads-parts");
  const ofView = (view) => d3.sum(view.tokens, (token) => shares[token] ?? 0);
  const caption = `Share of its attention ${moving ? "over time" : "that each part gets"}`;
  const series = [{ ...lineOf(state.run), values: views.map((view) => 100 * ofView(view)) }];
  linesOverParts(node, caption, (value) => percent(value / 100, 2), "share (%)", series);
  node.append(
    strip(
      (view) => percent(ofView(view)),
      (view, width) => overPicture(view, "", width, [pixels(view, fill, 0.78)], colour),
    ),
  );
}

/** The largest view, or the one that is chosen, in every layer; drawn anew only where its maps are others. */
function showThumbs(shares) {
  const view = several ? views[state.part] : d3.greatest(views, (each) => each.tokens.length);
  if (!view) return;
  const node = $("thumbs");
  const shown = `${state.run} ${state.token} ${state.part}`;
  if (node.dataset.shown !== shown || !node.children.length) {
    node.replaceChildren(
      ...layers.map((layer) => layerButton(layer, attends(layer) ? thumb(view, shares[layer]) : "no map")),
    );
  }
  node.dataset.shown = shown;
  [...node.children].forEach((button, layer) => button.setAttribute("aria-pressed", layer === state.layer));
}
function thumb(view, shares) {
  const { columns: width, rows: height, tokens } = view;
  const values = d3.range(width * height).map((place) => shares[tokens[place]] ?? NaN);
  const most = d3.max(tokens, (token) => shares[token]) || 1e-6;
  return silent(
    Plot.plot({
      width: 96,
      height: Math.min(160, (96 * height) / width),
      margin: 0,
      axis: null,
      color: { type: "sqrt", domain: [0, most], scheme: "inferno" },
      x: { domain: [0, width] },
      y: { domain: [0, height], reverse: true },
      marks: [Plot.raster(values, { width, height, imageRendering: "pixelated" })],
    }),
  );
}
function layerButton(layer, shown) {
  const button = make("button", { type: "button" }, shown, make("span", { textContent: `layer ${layer}` }));
  button.onclick = () => {
    choose({ layer });
    $("thumbs").children[layer].focus();
  };
  return button;
}

/** The text up to the answer token, with a bar behind each word. */
function showWords(run, row) {
  const answer = run.tokens.slice(0, state.token).map((token) => token.text);
  const texts = [...prompt.words, ...answer].map((text, place) => ({ text, share: row[place], group: groupOf(place) }));
  const most =
    d3.max(
      texts.filter((each) => each.group !== "image"),
      (each) => each.share,
    ) || 1;
  let inPicture = 0;
  const endPicture = () => {
    const said = `[picture: ${inPicture} tokens]`;
    if (inPicture) $("words").append(make("span", { className: "picture", textContent: said }), " ");
    inPicture = 0;
  };
  for (const { text, share, group } of texts) {
    if (group === "image") {
      inPicture += 1;
      continue;
    }
    endPicture();
    const span = make("span", { className: group, textContent: word(text), title: percent(share, 2) });
    span.style.setProperty("--share", (share ?? 0) / most);
    $("words").append(span, " ");
  }
  endPicture();
}
const groupOf = (column) => prompt.groups[column] ?? "answer";

function showShares(rows) {
  const names = Object.values(SHARES);
  const shares = model.attending.flatMap((layer) => {
    const sums = d3.rollup(rows[layer].keys(), (all) => d3.sum(all, (column) => rows[layer][column]), groupOf);
    return Object.keys(SHARES).map((group) => ({ layer, group: SHARES[group], share: 100 * (sums.get(group) ?? 0) }));
  });
  const node = $("shares");
  node.append(
    chart("Shares of attention in each layer", {
      width: roomIn(node, 900),
      height: 230,
      marginLeft: 44,
      x: { label: "layer", interval: 1, tickFormat: "d", domain: layers },
      y: { label: "share of attention (%)", domain: [0, 100] },
      color: { legend: true, domain: names, range: SHARE_COLOURS },
      marks: [
        Plot.barY(shares, { x: "layer", y: "share", fill: "group", order: names, tip: { format: { y: ".1f" } } }),
        Plot.barY([state.layer], {
          x: Plot.identity,
          y1: 0,
          y2: 100,
          fill: "none",
          stroke: "currentColor",
          strokeWidth: 2,
        }),
      ],
    }),
  );
}
