"use strict";
// The form of the app: what there is to choose comes from /offers, what is chosen goes to /looks, the page comes from there.
const DENSE = "dense", PLAN = "plan";
let offered, pictures = [], scenes = 0;

/** What the app answers, or an error whose message is the sentence that it says. */
async function answer(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("the app does not answer: is it still running?");
  }
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}
async function telling(work) {
  $("wrong").textContent = "";
  try {
    await work();
  } catch (error) {
    $("wrong").textContent = error.message;
  }
}

// -- what is asked ------------------------------------------------------------------------------------------------------

function choosePictures(files) {
  $("shown").querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  pictures = [...files];
  $("shown").replaceChildren(...pictures.map((file) => make("img", { src: URL.createObjectURL(file), alt: file.name })));
}
async function drawScene() {
  const { picture, question } = await answer(`/scenes/${scenes}`);
  const bytes = Uint8Array.from(atob(picture.split(",")[1]), (letter) => letter.charCodeAt(0));
  choosePictures([new File([bytes], `scene ${scenes}.png`, { type: "image/png" })]);
  $("question").value = question;
  scenes += 1;
}
/** One setting of a method, as its kind is moved. */
function control(setting) {
  const name = `set.${setting.name}`;
  if (setting.kind === "flag") {
    return make("label", { className: "line", title: setting.help },
      make("input", { type: "checkbox", name, checked: setting.value === "true" }), ` ${setting.name}`);
  }
  if (setting.kind === "choice") {
    const select = make("select", { name }, ...setting.choices.map((choice) => make("option", { value: choice, textContent: choice })));
    select.value = setting.value;
    return make("label", { title: setting.help }, setting.name, select);
  }
  if (setting.kind === "text") {
    return make("label", { title: setting.help }, setting.name, make("input", { type: "text", name, value: setting.value }));
  }
  const [max, step] = setting.kind === "layer" ? [offered.model.layers - 1, 1] : [0.99, 0.01];
  const range = make("input", { type: "range", name, min: 0, max, step });
  range.value = setting.value;
  range.dataset.kind = setting.kind;
  const said = make("output", { value: range.value });
  range.oninput = () => { said.value = range.value; };
  return make("label", { title: setting.help }, make("span", {}, `${setting.name} `, said), range, make("span", { className: "how", textContent: setting.help }));
}
function showMethod() {
  const name = $("method").value;
  const method = offered.methods.find((each) => each.name === name);
  const [main, more] = [true, false].map((which) => (method?.settings ?? []).filter((each) => each.main === which));
  $("about").textContent = { [DENSE]: "The whole model alone.", [PLAN]: "What visionflow tune wrote." }[name] ?? method.about;
  $("settings").replaceChildren(...main.map(control));
  $("more-settings").replaceChildren(...more.map(control));
  $("more").hidden = more.length === 0;
  $("plan-file").hidden = name !== PLAN;
  $("budget-of").hidden = name === DENSE || name === PLAN;
  showBudget();
}
function showBudget() {
  const on = $("budget-on").checked;
  $("budget-how").hidden = !on;
  $("budget-said").value = `${Math.round(100 * $("budget").value)} %`;
  document.querySelectorAll('[data-kind="ratio"]').forEach((range) => { range.disabled = on; });
}
function asked() {
  const form = new FormData();
  for (const file of pictures) form.append("picture", file);
  for (const name of ["question", "method", "max_new_tokens"]) form.append(name, $(name).value);
  form.append("blocks", $("knock").checked ? 4 : 0);
  for (const each of document.querySelectorAll('[name^="set."]')) form.append(each.name, each.type === "checkbox" ? each.checked : each.value);
  if ($("plan").files[0] && $("method").value === PLAN) form.append("plan", $("plan").files[0]);
  if ($("budget-on").checked && !$("budget-of").hidden) form.append("budget", $("budget").value);
  return form;
}
async function look() {
  $("look").disabled = true;
  const ask = setInterval(async () => {
    const { step } = await answer("/step").catch(() => ({ step: "" }));
    if ($("look").disabled) $("said").textContent = step && `${step} …`;
  }, 700);
  try {
    const { number } = await answer("/looks", { method: "POST", body: asked() });
    await showHistory(number);
    if (matchMedia("(max-width: 860px)").matches) $("result").scrollIntoView();
  } finally {
    clearInterval(ask);
    $("said").textContent = "";
    $("look").disabled = false;
  }
}

// -- what came of it ----------------------------------------------------------------------------------------------------

async function showHistory(number) {
  const looked = await answer("/looks");
  $("history").replaceChildren(...looked.map((each) => {
    const methods = Object.entries(each.answers).map(([method, said]) => make("small", { textContent: `${method}: ${said || "(no text)"}` }));
    const button = make("button", { type: "button" }, make("small", { textContent: `${each.number}, ${each.when}` }), each.question, ...methods);
    button.onclick = () => showPage(each.number);
    button.dataset.number = each.number;
    return make("li", {}, button);
  }));
  if (looked.length) showPage(number ?? looked[0].number);
}
function showPage(number) {
  for (const button of $("history").querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.number === `${number}`);
  for (const id of ["page", "links"]) $(id).hidden = false;
  $("none").hidden = true;
  $("page").src = `/looks/${number}`;
  $("alone").href = `/looks/${number}`;
  Object.assign($("save"), { href: `/looks/${number}`, download: `look-${number}.html` });
}

// -- together -----------------------------------------------------------------------------------------------------------

async function start() {
  offered = await answer("/offers");
  const { name, layers, device } = offered.model;
  $("model").textContent = `${name} (${offered.model.class}, ${layers} layers, on ${device})`;
  const names = [...offered.methods.map((method) => method.name), PLAN, DENSE];
  const words = { [PLAN]: "a plan file", [DENSE]: "none, the whole model" };
  $("method").replaceChildren(...names.map((each) => make("option", { value: each, textContent: words[each] ?? each })));
  showMethod();
  await showHistory();
}
$("picture").onchange = (event) => choosePictures(event.target.files);
$("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
$("drop").ondragleave = () => $("drop").classList.remove("over");
$("drop").ondrop = (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  choosePictures(event.dataTransfer.files);
};
$("scene").onclick = () => telling(drawScene);
$("method").onchange = showMethod;
$("budget-on").onchange = showBudget;
$("budget").oninput = showBudget;
$("form").onsubmit = (event) => { event.preventDefault(); telling(look); };
telling(start);
