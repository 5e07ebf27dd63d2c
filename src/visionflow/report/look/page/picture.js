// Image tokens over their picture: each view one large, or many small ones.
const MOST_SQUARES = 4000; // of a view, each with an outline of its own; of more, one image is made
const [CLEAR, DARK] = [0, 1];
const KEPT = { type: "linear", domain: [CLEAR, DARK], range: ["#f4c95d", "#15181d"] };

/** Left, top, right and bottom of a view in the units of its picture, or in cells where it lies over none. */
const boxOf = (view) => view.box ?? [0, 0, view.columns, view.rows];
function cellsOf(view) {
  const [left, top, right, bottom] = boxOf(view);
  const [across, down] = [(right - left) / view.columns, (bottom - top) / view.rows];
  return view.tokens.map((number, place) => {
    const [row, column] = [Math.floor(place / view.columns), place % view.columns];
    const [x1, y1] = [left + column * across, top + row * down];
    return { number, row, column, x1, y1, x2: x1 + across, y2: y1 + down };
  });
}
/** The picture, and how far it and the view reach. */
function frameOf(view) {
  const [left, top, right, bottom] = boxOf(view);
  const picture = view.picture == null ? null : data.pictures[view.picture];
  if (!picture) return { x: [left, right], y: [top, bottom], picture };
  return {
    x: [Math.min(0, left), Math.max(picture.width, right)],
    y: [Math.min(0, top), Math.max(picture.height, bottom)],
    picture,
  };
}

/** The tokens of a view by their numbers on the colour scale, null for no colour: one image of as many pixels. */
function pixels(view, fill, fillOpacity) {
  const [x1, y1, x2, y2] = boxOf(view);
  const { columns: width, rows: height, tokens } = view;
  const values = d3.range(height * width).map((place) => (place < tokens.length ? fill(tokens[place]) : null) ?? NaN);
  return Plot.raster(values, {
    width,
    height,
    x1,
    y1,
    x2,
    y2,
    imageRendering: "pixelated",
    fill: Plot.identity,
    fillOpacity,
  });
}
/** The same as squares with edges, where they are not very many. */
function squares(view, fill, fillOpacity, edges = {}) {
  if (view.tokens.length > MOST_SQUARES) return pixels(view, fill, fillOpacity);
  const cells = cellsOf(view)
    .map((cell) => ({ ...cell, value: fill(cell.number) }))
    .filter((cell) => cell.value != null);
  return Plot.rect(cells, { x1: "x1", x2: "x2", y1: "y1", y2: "y2", fill: "value", fillOpacity, ...edges });
}
/** Where the mouse is, what there is to say of the token. */
function told(view, said) {
  const x = (cell) => (cell.x1 + cell.x2) / 2;
  const y = (cell) => (cell.y1 + cell.y2) / 2;
  const title = (cell) => `row ${cell.row + 1}, column ${cell.column + 1}\n${said(cell.number)}`;
  return Plot.tip(cellsOf(view), Plot.pointer({ x, y, title, maxRadius: 30 }));
}

/** What of the frame the model does not look at. */
function unseen(view, [x1, x2], [y1, y2]) {
  const [left, top, right, bottom] = view.box;
  const beside = [
    { x1, x2: left, y1, y2 },
    { x1: right, x2, y1, y2 },
    { x1: left, x2: right, y1, y2: top },
    { x1: left, x2: right, y1: bottom, y2 },
  ].filter((each) => each.x2 - each.x1 > 0.5 && each.y2 - each.y1 > 0.5);
  return Plot.rect(beside, { x1: "x1", x2: "x2", y1: "y1", y2: "y2", fill: "#8f96a2", fillOpacity: 0.72 });
}
/** A picture with marks over it, in its own proportions. */
function overPicture(view, label, width, marks, color) {
  const { x, y, picture } = frameOf(view);
  const height = width * Math.min(2, (y[1] - y[0]) / (x[1] - x[0]));
  const ground = () =>
    Plot.image([picture], {
      src: () => shown[view.picture],
      x: picture.width / 2,
      y: picture.height / 2,
      width: (width * picture.width) / (x[1] - x[0]),
      height: (height * picture.height) / (y[1] - y[0]),
      preserveAspectRatio: "none",
    });
  return chart(label, {
    width,
    height,
    margin: 0,
    axis: null,
    x: { domain: x },
    y: { domain: y, reverse: true },
    color,
    marks: picture ? [ground(), unseen(view, x, y), ...marks] : marks,
  });
}

/** All parts small, each drawn when it comes into sight; one that is pressed is chosen. */
function strip(said, draw) {
  const node = make("div", { className: "strip" });
  const drawn = (button) => {
    watch.unobserve(button);
    button.prepend(silent(draw(views[button.dataset.part], 104)));
  };
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawn(entry.target);
  });
  node.drawAll = () => node.querySelectorAll("button:not(:has(svg))").forEach(drawn);
  views.forEach((view, part) => {
    const name = moving ? shortCaption(view) : `part ${part + 1}`;
    const button = make("button", { type: "button" }, `${name}: ${said(view)}`);
    button.dataset.part = part;
    button.style.setProperty("--shape", view.columns / view.rows);
    button.setAttribute("aria-pressed", part === state.part);
    button.onclick = () => {
      const around = node.parentNode;
      choose({ part });
      around.querySelectorAll(".strip button")[part].focus();
    };
    node.append(button);
    watch.observe(button);
  });
  return node;
}
/** Named lines over all parts. */
function linesOverParts(node, caption, label, unit, series) {
  const across = { label: moving ? "frame" : "part", places: views.map(numberOf) };
  namedLines(node, caption, label, unit, series, { across });
}
