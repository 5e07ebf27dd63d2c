// Where information flows, and what would be said without a flow.
const GROUPS = {
  image: "the picture",
  instruction: "the text after the picture",
  last: "the last prompt token",
  system: "the text before the picture",
};

function showFlows() {
  const node = $("flows");
  node.replaceChildren();
  if (!data.saliency) {
    $("flows-none").textContent = `It is not there: ${data.no_saliency}.`;
    return;
  }
  const line = (measure, what, run) => ({
    name: `${what} (${measure.replace("s_", "S_")})`,
    colour: runColour(run),
    values: data.saliency.layers.map((row) => row[measure]),
  });
  const number = d3.format(".3~g");
  const regions = [line("s_sys", "text before", 1), line("s_img", "picture", 2), line("s_ins", "text after", 3)];
  const out = [line("s_vv", "to the picture itself", 2), line("s_vt", "to the text after", 3)];
  const ticks = "~g";
  namedLines(node, "How much one token of a region is read", number, "saliency per token", regions, { ticks });
  namedLines(node, "Flows out of the picture", number, "saliency per image token", out, { ticks });
}

function showKnocked() {
  const node = $("knocked");
  node.replaceChildren();
  if (!data.knock_outs) {
    node.textContent = `There is none here: ${data.no_knock_outs}.`;
    return;
  }
  const flows = d3.groups(data.knock_outs.cells, (cell) => `${cell.source} ${cell.target}`).map(([, cells]) => cells);
  const cells = flows[state.flow];
  const firsts = [...new Set(cells.map((cell) => cell.first))];
  const lasts = [...new Set(cells.filter((cell) => cell.first === state.first).map((cell) => cell.last))];
  if (!lasts.includes(state.last)) state.last = lasts[0];
  const cell = cells.find((each) => each.first === state.first && each.last === state.last);
  const number = (layer) => [layer, layer];
  const picks = [
    pick(
      "What if",
      "flow",
      flows.map(([some], place) => [place, withoutFlow(some)]),
    ),
    pick("in layers", "first", firsts.map(number)),
    pick("to", "last", lasts.map(number)),
  ];
  node.append(
    make("div", { className: "pick" }, ...picks),
    knockedSaid(cell),
    ...knockedMap(node, cells, firsts, cell),
  );
}
const withoutFlow = ({ source, target }) =>
  `${GROUPS[target]} could not read ${source === target ? "itself" : GROUPS[source]}`;
/** One of the options, as its value and its text, by which a part of the state is set. */
function pick(label, name, options) {
  const select = make("select", {}, ...options.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = state[name];
  select.dataset.of = name;
  select.onchange = () => {
    state[name] = Number(select.value);
    showKnocked();
    $("knocked").querySelector(`select[data-of="${name}"]`).focus();
  };
  return make("label", {}, `${label} `, select);
}
function knockedSaid(cell) {
  const { id, text } = data.knock_outs.first_token;
  const instead = `say “${word(cell.words[0])}” (${percent(cell.probabilities[0])}).`;
  const textContent =
    `“${word(text)}”, the first answer token of the whole model, would have ${percent(cell.of_clean)}; ` +
    `the model would ${cell.ids[0] === id ? "still say it." : instead}`;
  const said = make("p", { className: "said", textContent });
  said.setAttribute("aria-live", "polite");
  return said;
}
/** The scale and the map of one flow in all stretches of layers, with one of them marked. */
function knockedMap(node, cells, firsts, marked) {
  const label = `probability of “${word(data.knock_outs.first_token.text)}” (%)`;
  const colour = { domain: [0, 100], scheme: "viridis", label };
  const place = { x: "last", y: "first" };
  const share = (cell) => 100 * cell.of_clean;
  const map = chart("Probability of the first answer token by first and last layer of the stretch", {
    width: roomIn(node, 440),
    height: 70 + 40 * firsts.length,
    marginLeft: 50,
    marginBottom: 40,
    color: colour,
    padding: 0.05,
    x: { label: "to layer", domain: [...new Set(cells.map((each) => each.last))].sort(d3.ascending) },
    y: { label: "from layer", domain: firsts },
    marks: [
      Plot.cell(cells, { ...place, fill: share }),
      Plot.text(cells, {
        ...place,
        text: (cell) => share(cell).toFixed(0),
        fill: (cell) => (share(cell) > 55 ? "black" : "white"),
      }),
      Plot.cell([marked], { ...place, fill: "none", stroke: "#ff5a1f", strokeWidth: 3 }),
    ],
  });
  return [scaleOf(colour), map];
}
