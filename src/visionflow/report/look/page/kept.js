// What is kept of the picture.
const MOST_ROWS = 100; // of the table
const countIn = (view, kept) => d3.sum(view.tokens, (token) => kept.has(token));

function showKept() {
  const pruned = d3.range(runs.length).filter((number) => runs[number].method);
  const numbers = pruned.length ? pruned : [0];
  const node = $("kept");
  node.replaceChildren();
  for (const number of numbers) {
    for (const view of shownViews()) showKeptView(node, number, view);
    const stage = stageAt(runs[number], state.layer);
    if (stage) node.lastChild.append(keptTable(number, stage));
  }
  $("kept-parts").replaceChildren();
  if (several) showKeptParts(numbers);
}
function showKeptView(node, number, view) {
  const run = runs[number];
  const kept = keptAt(run, state.layer);
  const caption = `${runName(number)} in layer ${state.layer}, ${captionOf(view)}: ${countIn(view, kept)} kept`;
  const figure = figureIn(node, caption);
  const edges = { stroke: "#ffc400", strokeOpacity: stageAt(run, state.layer) ? 0.95 : 0.3, inset: 0.5 };
  const marks = [
    squares(view, (token) => (kept.has(token) ? null : DARK), 0.74),
    squares(view, (token) => (kept.has(token) ? CLEAR : null), view.box ? 0 : 1, edges),
    told(view, (token) => verdict(run, state.layer, token)),
  ];
  figure.append(
    overPicture(view, `${caption}; kept squares are clear, the others dark`, roomIn(figure, 560), marks, KEPT),
  );
}
/** How much of each part stayed, and all parts small. */
function showKeptParts(numbers) {
  const node = $("kept-parts");
  const series = numbers.map((number) => {
    const kept = keptAt(runs[number], state.layer);
    return { ...lineOf(number), values: views.map((view) => countIn(view, kept)) };
  });
  const caption = `Tokens kept in layer ${state.layer} ${moving ? "over time" : "in each part"}`;
  linesOverParts(node, caption, d3.format(","), "tokens", series);
  const number = numbers.includes(state.run) ? state.run : numbers[0];
  const kept = keptAt(runs[number], state.layer);
  const said = `${runName(number)} in layer ${state.layer}; press one to see it large.`;
  const colour = (view) => (token) => (kept.has(token) ? (view.box ? null : CLEAR) : DARK);
  node.append(
    make("p", { className: "how", textContent: said }),
    strip(
      (view) => `${countIn(view, kept)} kept`,
      (view, width) => overPicture(view, "", width, [pixels(view, colour(view), 0.74)], KEPT),
    ),
  );
}
function keptTable(number, stage) {
  const cells = new Map(views.flatMap(cellsOf).map((cell) => [cell.number, cell]));
  const rankOf = (token) => stage.ranks?.[stage.places.get(token)];
  const scoreOf = (token) => stage.scores?.[stage.places.get(token)];
  const said = (value, form = String) => (value == null ? "–" : form(value));
  const best = (stage.ranks ? d3.sort(stage.kept, rankOf) : stage.kept).slice(0, MOST_ROWS);
  const rows = best.map((token) => [
    `${token}`,
    said(cells.get(token)?.row, (row) => row + 1),
    said(cells.get(token)?.column, (column) => column + 1),
    said(rankOf(token)),
    said(scoreOf(token), d3.format(".4~g")),
  ]);
  const box = make(
    "div",
    { className: "wide", tabIndex: 0 },
    table(["image token", "row", "column", "rank", "score"], rows),
  );
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", `Tokens kept by ${runName(number)}`);
  box.style.maxHeight = "16rem";
  return make("details", {}, make("summary", { textContent: `The ${rows.length} best kept, as a table` }), box);
}
