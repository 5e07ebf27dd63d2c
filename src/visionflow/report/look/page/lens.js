// Where the answer appears: the logit lens.
function showLens() {
  const { lens, no_lens } = runs[state.run];
  for (const id of ["lens", "lens-table", "lens-legend"]) $(id).replaceChildren();
  if (!lens) {
    $("lens").textContent = `There is no lens here: ${no_lens}.`;
    return;
  }
  const colour = { domain: [0, 100], scheme: "blues", label: "probability of the word (%)" };
  $("lens-legend").append(scaleOf(colour));
  $("lens").append(lensChart(lens, colour));
  const rows = lens.words[state.token].map((_, depth) => [`${depth}`, ...guesses(lens, state.token, depth)]);
  $("lens-table").append(table(["depth", ...rows[0].slice(1).map((_, rank) => `${rank + 1}.`)], rows));
}
/** The likeliest words at a depth, best first, each with its probability. */
function guesses(lens, token, depth) {
  const shares = lens.probabilities[token][depth];
  return lens.words[token][depth].map((text, rank) => `${word(text)}  ${percent(shares[rank])}`);
}
function lensChart(lens, colour) {
  const { tokens } = runs[state.run];
  const cells = lens.words.flatMap((depths, token) =>
    depths.map((words, depth) => ({
      token,
      depth,
      word: word(words[0]),
      share: 100 * lens.probabilities[token][depth][0],
      title: guesses(lens, token, depth).join("\n"),
    })),
  );
  const least = 60 + 74 * tokens.length;
  const place = { x: "token", y: "depth" };
  return chart("Likeliest word at each depth, for each answer token", {
    width: Math.max(least, roomIn($("lens"), 260 + 90 * tokens.length)),
    height: 60 + 24 * (model.layers + 1),
    marginLeft: 44,
    marginTop: 34,
    color: colour,
    padding: 0.04,
    x: {
      axis: "top",
      label: "answer token",
      tickFormat: (token) => short(word(tokens[token].text), 9),
      domain: d3.range(tokens.length),
    },
    y: { label: "depth" },
    marks: [
      Plot.cell(cells, { ...place, fill: "share" }),
      Plot.cell(cells, {
        ...place,
        filter: (cell) => cell.token === state.token,
        fill: "none",
        stroke: "#d55e00",
        strokeWidth: 2,
      }),
      Plot.text(cells, {
        ...place,
        text: (cell) => short(cell.word),
        fill: (cell) => (cell.share > 55 ? "white" : "black"),
      }),
      Plot.tip(cells, Plot.pointer({ ...place, title: "title" })),
    ],
  });
}
