// What things are called, and numbers in units that suit them.
const runName = (number) => runs[number].method ?? "whole model (dense)";
function shortName(number) {
  const kinds = runs.map((run) => run.method?.split("(")[0] ?? "dense");
  return kinds.filter((kind) => kind === kinds[number]).length > 1 ? `${kinds[number]} (${number})` : kinds[number];
}
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const runColour = (number) => css(`--run${number === 0 ? 0 : 1 + ((number - 1) % 4)}`);
/** A run as a line of a chart is called and coloured. */
const lineOf = (number) => ({ name: shortName(number), colour: runColour(number) });

function shortCaption(view) {
  if (view.frame != null) return `frame ${view.frame + 1}`;
  return view.picture != null && data.pictures.length > 1 ? `picture ${view.picture + 1}` : view.name;
}
function captionOf(view) {
  const said = shortCaption(view);
  return `${said}${said === view.name ? "" : `: ${view.name}`}, ${view.rows} × ${view.columns} tokens`;
}

const word = (text) => (text.trim() === "" ? text.replaceAll("\n", "⏎").replaceAll(" ", "␣") || "␣" : text.trim());
const short = (text, most = 12) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);
const si = (value) =>
  d3
    .format(".3~s")(value)
    .replace(/[kMGT]$/, " $&");
const seconds = (value) => (value >= 1 ? `${value.toFixed(2)} s` : `${(1000 * value).toFixed(0)} ms`);
function bytes(value) {
  const [size, unit] = value >= 2 ** 30 ? [2 ** 30, "GiB"] : value >= 2 ** 20 ? [2 ** 20, "MiB"] : [2 ** 10, "KiB"];
  return `${(value / size).toFixed(2)} ${unit}`;
}
