// What the model is, what can be chosen, and the answers.
function showHead() {
  const tokens = d3.rollup(
    prompt.groups,
    (all) => all.length,
    (group) => group,
  );
  const of = (group) => tokens.get(group) ?? 0;
  $("model").textContent =
    `${model.name} (${model.class}, ${model.layers} layers, ${model.dtype} on ${model.device}): ` +
    `${of("image")} image tokens, ${of("system")} tokens of text before them, ${of("instruction")} after.`;
  $("parting").textContent = d3.range(1, runs.length).map(parting).join(" ");
  $("unplaced").textContent =
    data.unplaced && `Tokens are shown in their order, not over the picture: ${data.unplaced}.`;
  $("run").replaceChildren(...runs.map((_, number) => make("option", { value: number, textContent: runName(number) })));
  Object.assign($("layer"), { max: model.layers - 1, value: state.layer });
  $("part-label").hidden = !several;
  $("part-what").textContent = moving ? "Frame" : "Part";
  $("part").max = views.length - 1;
}
function parting(number) {
  const { parts } = runs[number];
  if (parts == null) return `${runName(number)} gives the same answer.`;
  return `${runName(number)} parts from the whole model at token ${parts + 1}, dashed.`;
}
function showControls() {
  $("run").value = state.run;
  const { tokens } = runs[state.run];
  state.token = Math.min(state.token, tokens.length - 1);
  const option = (token, place) => make("option", { value: place, textContent: `${place + 1}: ${word(token.text)}` });
  $("token").replaceChildren(...tokens.map(option));
  $("token").value = state.token;
  $("layer").value = state.layer;
  $("layer-number").textContent = state.layer;
  $("part").value = state.part;
  $("part-number").textContent = several ? numberOf(views[state.part], state.part) : "";
}
function showAnswers() {
  $("answers").replaceChildren(...runs.map((_, number) => answerCard(number)));
}
function answerCard(number) {
  const tokens = runs[number].tokens.map((_, place) => tokenButton(number, place));
  const name = make("h3", { textContent: runName(number) });
  const card = make("div", { className: "card" }, name, make("div", { className: "tokens" }, ...tokens));
  card.style.setProperty("--of-run", runColour(number));
  return card;
}
function tokenButton(number, place) {
  const { tokens, parts } = runs[number];
  const { text, id } = tokens[place];
  const button = make("button", { type: "button", textContent: word(text), title: `token ${place + 1}, id ${id}` });
  button.setAttribute("aria-pressed", state.run === number && state.token === place);
  button.classList.toggle("special", /^<.*>$/.test(text.trim()));
  button.classList.toggle("parts", parts === place);
  button.onclick = () => {
    choose({ run: number, token: place });
    $("answers").children[number].querySelectorAll("button")[place].focus();
  };
  return button;
}
