// The looks of the page, one for each model, and the parts of the document that each has of its own.
const { looks, shown } = JSON.parse($("data").textContent);

/** What a model is called beside the others. */
function modelName(number) {
  const { name } = looks[number].model;
  const before = looks.slice(0, number).filter((look) => look.model.name === name).length;
  return before ? `${name} (${before + 1})` : name;
}
const partId = (id, number) => (number === 0 ? id : `${id}-${number + 1}`);
const partsOf = (number) => (id) => $(partId(id, number));

/** A part of the first look as one of another: what is named in it is named anew. */
function partFor(number, first) {
  const part = first.cloneNode(true);
  for (const each of part.querySelectorAll("[id]")) each.id = partId(each.id, number);
  for (const each of part.querySelectorAll("[for]")) each.setAttribute("for", partId(each.getAttribute("for"), number));
  return part;
}
/** Says whose a part is, to who sees it and to who hears it. */
function signed(part, number) {
  const name = modelName(number);
  part.prepend(make("p", { className: "model-name", textContent: name }));
  for (const each of part.querySelectorAll("[role=region]")) each.ariaLabel = `${each.ariaLabel}, ${name}`;
}
function showParts() {
  for (const first of document.querySelectorAll(".of-model")) {
    const parts = looks.map((_, number) => (number === 0 ? first : partFor(number, first)));
    first.parentNode.replaceChildren(...parts);
    if (looks.length > 1) parts.forEach(signed);
  }
}
function showAbout() {
  const said = [
    "Attention and logit lens are rows of the answer as it was generated, beside the model's own attention function: " +
      "answer tokens × layers × tokens numbers are held, never a map of tokens × tokens.",
    `Made by visionflow ${looks[0].visionflow} (Apache-2.0), data layout ${looks[0].schema}. Charts by D3 7.9.2 and Observable ` +
      "Plot 0.6.17 (ISC licence, Mike Bostock and Observable, Inc.), inside this file, which asks nothing of any network.",
  ];
  $("about").replaceChildren(...said.map((textContent) => make("p", { textContent })));
}

document.body.classList.toggle("several", looks.length > 1);
$("question").textContent = looks[0].question || "One prompt, looked into";
$("controls").onsubmit = (event) => event.preventDefault();
showParts();
showAbout();
