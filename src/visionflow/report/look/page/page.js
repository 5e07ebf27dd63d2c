// All sections together: what is chosen anew, and what is drawn anew for it.
function choose(change) {
  const before = { ...state };
  Object.assign(state, change);
  showControls();
  const changed = (...names) => names.some((name) => state[name] !== before[name]);
  if (changed("run", "token")) {
    showAnswers();
    showLens();
  }
  if (changed("layer", "part") || (several && changed("run"))) showKept();
  showReads();
}
function showAll() {
  for (const show of [showControls, showAnswers, showKept, showReads, showLens, showFlows, showKnocked, showCost])
    show();
}

showHead();
showAll();
for (const name of ["run", "token"]) $(name).onchange = (event) => choose({ [name]: Number(event.target.value) });
for (const name of ["layer", "part"]) $(name).oninput = (event) => choose({ [name]: Number(event.target.value) });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
addEventListener("beforeprint", () => document.querySelectorAll(".strip").forEach((strip) => strip.drawAll()));
let seenWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === seenWidth) return;
  seenWidth = innerWidth;
  showAll();
});
