"use strict";

// Tables: a click on a heading sorts by it. What has no number comes last either way.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((heading, column) => heading.addEventListener("click", () => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = row => { const cell = row.cells[column]; return "sort" in cell.dataset ? (cell.dataset.sort === "" ? null : Number(cell.dataset.sort)) : cell.textContent; };
    const rows = [...body.rows].map(row => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
      return ascending ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  }));
}

// Lines: a label is on or off in every chart and table of the page at once.
const charts = [...document.querySelectorAll("figure.chart")].map(figure => ({ figure, ...JSON.parse(figure.querySelector("script").textContent) }));
const boxes = [...document.querySelectorAll(".lines input")];
const off = new Set();

function show() {
  for (const box of boxes) box.checked = !off.has(box.value);
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.querySelectorAll("tr[data-line]")];
    for (const row of rows) row.hidden = off.has(row.dataset.line);
    const hidden = rows.filter(row => row.hidden).length, said = table.parentElement.nextElementSibling;
    said.hidden = !hidden;
    said.textContent = hidden ? `${hidden} of ${rows.length} rows are switched off.` : "";
  }
  return Promise.all(charts.map(chart => chart.view && chart.view.signal("shown", lit(chart)).runAsync()));
}

function lit(chart) {
  return [...chart.figure.querySelectorAll("input")].map(box => box.value).filter(label => !off.has(label));
}

for (const box of boxes) box.addEventListener("change", () => { off[box.checked ? "delete" : "add"](box.value); show(); });
for (const button of document.querySelectorAll("[data-lines]")) button.addEventListener("click", () => {
  const own = [...button.closest(".lines").querySelectorAll("input")].map(box => box.value);
  const wanted = button.dataset.lines === "all" ? own : button.dataset.lines === "none" ? [] : JSON.parse(button.dataset.lines);
  for (const label of own) off[wanted.includes(label) ? "delete" : "add"](label);
  show();
});

// Charts: drawn to the width that there is, in the page's own ink.
const ink = { labelColor: "currentColor", titleColor: "currentColor", tickColor: "currentColor", domainColor: "currentColor" };
const config = {
  background: null,
  font: "system-ui, sans-serif",
  axis: { ...ink, gridColor: "currentColor", gridOpacity: 0.13, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
  header: { labelColor: "currentColor", labelFontSize: 12 },
  title: { color: "currentColor", fontSize: 12 },
  rule: { color: "currentColor" },
  view: { stroke: null },
};

const measure = document.createElement("canvas").getContext("2d");

// A title as lines of which each fits.
function lines(text, room) {
  measure.font = `${config.axis.titleFontSize}px ${config.font}`;
  const found = [""];
  for (const word of text.split(" ")) {
    const longer = `${found.at(-1)} ${word}`.trim();
    if (found.at(-1) && measure.measureText(longer).width > room) found.push(word);
    else found[found.length - 1] = longer;
  }
  return found.length > 1 ? found : text;
}

function breakTitles(part, room) {
  if (part === null || typeof part !== "object") return;
  for (const [name, value] of Object.entries(part)) {
    if (name in room && typeof value?.title === "string") value.title = lines(value.title, room[name]);
    if (name !== "datasets" && name !== "values") breakTitles(value, room);
  }
}

async function draw(chart) {
  const place = chart.figure.querySelector(".drawing"), width = place.clientWidth;
  if (!width) return;
  const spec = structuredClone(chart.views[chart.chosen]);
  spec.datasets = { ...chart.datasets };
  if (spec.facet) {
    spec.columns = Math.max(1, Math.min(chart.figure.querySelectorAll("input").length, Math.floor(width / spec.usermeta.narrowest)));
    spec.spec.width = Math.floor(width / spec.columns) - 62;
    const broken = lit(chart).map(label => [label, [lines(label, spec.spec.width)].flat()]);
    spec.facet.header.labelExpr = `(${JSON.stringify(Object.fromEntries(broken))})[datum.label]`;
  } else {
    Object.assign(spec, { width, autosize: { type: "fit-x", contains: "padding" } });
    // Beside the picture are the labels of the other axis.
    breakTitles(spec, { x: width - 80, y: spec.height ?? 300 });
  }
  const shown = spec.params.find(param => param.name === "shown");
  shown.value = lit(chart);
  chart.width = width;
  if (chart.view) chart.view.finalize();
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const drawn = await vegaEmbed(place, spec, { actions: false, renderer: "svg", config, tooltip: { theme: dark ? "dark" : "light" } });
  chart.view = drawn.view;
}

for (const chart of charts) {
  chart.chosen = Object.keys(chart.views)[0];
  for (const button of chart.figure.querySelectorAll("[data-view]")) button.addEventListener("click", () => {
    chart.chosen = button.dataset.view;
    for (const other of chart.figure.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", other === button);
    chart.drawing = draw(chart);
  });
}
const drawn = (async () => { for (const chart of charts) await draw(chart); })();
drawn.then(() => {
  document.documentElement.dataset.drawn = charts.filter(chart => chart.view).length;
  let later;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => charts.filter(chart => chart.figure.clientWidth !== chart.width).forEach(draw), 150);
  });
});
