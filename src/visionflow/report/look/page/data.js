// What is shown of a look, and what of it is chosen.
const { runs, prompt, views, model } = data;
for (const run of runs) run.reads = unpacked(run.reads);
for (const stage of runs.flatMap((run) => run.stages)) {
  stage.held = new Set(stage.kept);
  stage.places = new Map((stage.present ?? []).map((number, place) => [number, place]));
}
const layers = d3.range(model.layers);
const attends = (layer) => model.attending.includes(layer);

const ALL_AT_ONCE = 6; // views; of more, one is shown large and all are small, drawn when they come into sight
const several = views.length > ALL_AT_ONCE;
const moving = views.length > 0 && views.every((view) => view.frame != null);
const numberOf = (view, place) => (view.frame ?? place) + 1; // of a frame or part, as it is called
const shownViews = () => (several ? [views[state.part]] : views);

const state = { run: runs.length > 1 ? 1 : 0, token: 0, layer: 0, part: 0, flow: 0, first: 0, last: 0 };
const wanted = runs[state.run].stages.at(-1)?.layer ?? Math.floor(model.layers / 2);
state.layer = layers.find((layer) => layer >= wanted && attends(layer)) ?? wanted;

/** Rows of numbers that came as the bytes of fp32, little-endian; null for NaN. */
function unpacked({ shape: [tokens, depth, columns], fp32 }) {
  const numbers = new Float32Array(Uint8Array.from(atob(fp32), (letter) => letter.charCodeAt(0)).buffer);
  const known = (value) => (Number.isNaN(value) ? null : value);
  const row = (first) => Array.from(numbers.subarray(first, first + columns), known);
  return d3.range(tokens).map((token) => d3.range(depth).map((layer) => row((token * depth + layer) * columns)));
}

/** The latest cut before a layer. */
const stageAt = (run, layer) =>
  d3.greatest(
    run.stages.filter((stage) => stage.layer <= layer),
    (stage) => stage.layer,
  );
/** The numbers of the image tokens that are there in a layer. */
const keptAt = (run, layer) => stageAt(run, layer)?.held ?? new Set(d3.range(prompt.image_columns.length));

/** What the cuts up to a layer said of an image token. */
function verdict(run, layer, number) {
  const stage = run.stages.filter((each) => each.layer <= layer && each.places.has(number)).at(-1);
  if (!stage) return "no cut has looked at it yet";
  const place = stage.places.get(number);
  const said = `${stage.held.has(number) ? "kept" : "dropped"} before layer ${stage.layer}`;
  if (!stage.scores) return `${said}, without scores`;
  const score = d3.format(".3~g")(stage.scores[place]);
  return `${said}: rank ${stage.ranks[place]} of ${stage.present.length}, score ${score}`;
}
