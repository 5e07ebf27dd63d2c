// Charts and tables that say what they show to who cannot see them. All charts are Observable Plot's.
const PLAIN = { background: "none", color: "inherit" };
const SYMBOLS = ["circle", "square", "triangle", "diamond2", "cross"];
const DASHES = [null, "7 3", "2 3"]; // of the first line, the second, and all others
const roomIn = (node, most) => Math.min(most, Math.max(240, node.clientWidth));

function chart(label, options) {
  const svg = Plot.plot({ style: { ...PLAIN, fontFamily: "inherit", fontSize: "12px" }, ...options });
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return unlabelled(svg);
}
/** Plot names the parts of a chart by their kinds ("rect"), which tells nobody anything. */
function unlabelled(svg) {
  svg.querySelectorAll("g[aria-label]").forEach((part) => part.removeAttribute("aria-label"));
  return svg;
}
/** One that says nothing that is not beside it in words. */
function silent(svg) {
  svg.setAttribute("aria-hidden", "true");
  return svg;
}
const scaleOf = (color) => unlabelled(Plot.legend({ color, width: 280, style: PLAIN }));

/** A figure in its place, so that it is known how much room there is in it. */
function figureIn(node, caption, className = "") {
  const figure = make("figure", { className }, make("figcaption", { textContent: caption }));
  node.append(figure);
  return figure;
}
function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { textContent: text, scope: "col" })));
  const body = rows.map(([name, ...cells]) =>
    make(
      "tr",
      {},
      make("th", { textContent: name, scope: "row" }),
      ...cells.map((text) => make("td", { textContent: text })),
    ),
  );
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** Lines over layers, or over what `across` has: its label, and a place for each value. */
function lines(node, caption, label, unit, series, { ticks, across = { label: "layer", places: layers } } = {}) {
  const { places } = across;
  const figure = figureIn(node, caption);
  const marks = series.map(({ name, colour, values }, number) => {
    const title = (value, at) => `${name}, ${across.label} ${places[at]}\n${label(value)}`;
    const points = values.map((value, at) => ({ place: places[at], value, title: title(value, at) }));
    const where = { x: "place", y: "value" };
    return [
      Plot.line(points, { ...where, stroke: colour, strokeWidth: 2, strokeDasharray: DASHES[Math.min(number, 2)] }),
      Plot.dot(points, { ...where, fill: colour, symbol: SYMBOLS[number % 5], r: 4, title: "title", tip: true }),
    ];
  });
  figure.append(
    chart(caption, {
      width: roomIn(figure, 900),
      height: 230,
      marginLeft: 52,
      x: { label: across.label, ticks: places.length > 12 ? undefined : places, tickFormat: "d" },
      y: { label: unit, grid: true, zero: true, tickFormat: ticks },
      symbol: { range: SYMBOLS },
      marks,
    }),
  );
  return figure;
}
/** The same with the names of the lines. */
function namedLines(node, caption, label, unit, series, options) {
  lines(node, caption, label, unit, series, options).firstChild.after(keys(series));
}
function keys(series) {
  const list = make("ul", { className: "keys" });
  series.forEach(({ name, colour }, number) => {
    const svg = Plot.plot({
      width: 26,
      height: 12,
      margin: 0,
      axis: null,
      x: { domain: [0, 2] },
      y: { domain: [-1, 1] },
      marks: [
        Plot.lineY(
          [
            [0, 0],
            [2, 0],
          ],
          { stroke: colour, strokeWidth: 2 },
        ),
        Plot.dot([[1, 0]], { symbol: SYMBOLS[number % 5], fill: colour, r: 4 }),
      ],
    });
    list.append(make("li", {}, silent(svg), ` ${name}`));
  });
  return list;
}
