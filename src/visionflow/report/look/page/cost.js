// What it costs.
function showCost() {
  const node = $("cost");
  node.replaceChildren();
  const series = (name) => runs.map((run, number) => ({ ...lineOf(number), values: run[name] }));
  const ticks = "~s";
  $("cost-keys").replaceChildren(keys(series("lengths")));
  lines(node, "Tokens in each layer (text included)", d3.format(","), "tokens", series("lengths"));
  if (runs[0].flops) lines(node, "FLOPs of each layer", si, "FLOPs", series("flops"), { ticks });
  lines(node, "What each layer keeps in the KV cache", bytes, "bytes", series("kv_bytes"), { ticks });
  $("totals").replaceChildren(table(["of the run", ...runs.map((_, number) => shortName(number))], totals()));
}
function totals() {
  const row = (name, value) => [name, ...runs.map(value)];
  const modelled = runs[0].flops_total != null;
  return [
    ...(modelled ? [row("prefill, probes and head included (FLOPs)", (run) => si(run.flops_total))] : []),
    row("image tokens in the last layer", (run) => `${run.image_tokens.at(-1)}`),
    row("KV cache of the prompt, measured", (run) => bytes(d3.sum(run.kv_bytes))),
    row("time to the first token, median of 3", (run) => seconds(run.times.first_token_s)),
    row("time of the whole answer", (run) => seconds(run.times.answer_s)),
    row("the same with every row taken for this page", (run) => seconds(run.times.look_s)),
    row(
      "memory of these rows, and of states for the lens",
      ({ memory }) => `${bytes(memory.rows_bytes)}, ${bytes(memory.states_bytes)}`,
    ),
  ];
}
