// Two runs or configurations side by side: their surfaces at equal scales, turned together, and their numbers.
// #one,other names them.
"use strict";

(() => {
  const place = document.getElementById("compare");
  const known = new Map(lossatlas.runs.map((run) => [run.slug, run]));
  const words = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
  const PLANES = [...new Set(lossatlas.runs.flatMap((run) => run.planes))].map((plane) => [plane, words(plane)]);
  const element = (tag, fields = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), fields);
    made.append(...children);
    return made;
  };

  const state = { plane: PLANES[0]?.[0], split: null, equal: true, slugs: [] };

  const options = () => [...Map.groupBy(lossatlas.runs, (run) => run.group)].map(([group, runs]) => {
    const made = runs.map((run) => element("option", { value: run.slug, textContent: run.name }));
    return element("optgroup", { label: group }, ...made);
  });

  const panels = [0, 1].map((side) => {
    const select = element("select", { ariaLabel: side ? "Second" : "First" }, ...options());
    const link = element("a", { className: "source" });
    const plot = element("div", { className: "plot" });
    const note = element("output");
    select.addEventListener("change", () => {
      state.slugs[side] = select.value;
      history.replaceState(null, "", `#${state.slugs.join(",")}`);
      show();
    });
    return { select, link, plot, note, box: element("section", { className: "panel" }, select, link, note, plot) };
  });

  const equal = element("input", { type: "checkbox", checked: true });
  equal.addEventListener("change", () => { state.equal = equal.checked; show(); });
  const bar = element("div", { className: "bar" });
  const table = element("div", { className: "frame" });
  place.append(bar, element("div", { className: "two" }, ...panels.map((panel) => panel.box)), table);

  const showNumbers = (runs) => {
    const numbers = runs.map((run) => new Map(run.numbers));
    const names = new Set(runs.flatMap((run) => run.numbers.map(([name]) => name)));
    const head = element("tr", {}, element("th", { scope: "col", textContent: "Measure" }));
    for (const run of runs) head.append(element("th", { scope: "col", className: "n", textContent: run.title }));
    const body = element("tbody");
    for (const name of names) {
      const cells = numbers.map((of) => element("td", { className: "n", textContent: of.get(name) ?? "–" }));
      body.append(element("tr", {}, element("th", { scope: "row", textContent: name }), ...cells));
    }
    table.replaceChildren(element("table", {}, element("thead", {}, head), body));
  };

  // The camera of one follows the other.
  const link = (Plotly) => panels.forEach(({ plot }, side) => {
    const other = panels[1 - side].plot;
    plot.removeAllListeners("plotly_relayouting");
    plot.removeAllListeners("plotly_relayout");
    const follow = (event) => {
      const camera = event["scene.camera"];
      if (!camera || !other.layout || JSON.stringify(other.layout.scene.camera) === JSON.stringify(camera)) return;
      Plotly.relayout(other, { "scene.camera": structuredClone(camera) });
    };
    plot.on("plotly_relayout", follow);
    plot.on("plotly_relayouting", follow);
  });

  const showControls = (splits) => {
    const planes = lossatlas.choice(PLANES, state.plane, (plane) => { state.plane = plane; show(); });
    const chosen = lossatlas.choice(splits.map((split) => [split, split]), state.split, (split) => {
      state.split = split;
      show();
    });
    const label = element("label", {}, equal, " same range of α and β");
    bar.replaceChildren(planes, ...(splits.length > 1 ? [chosen] : []), ...(state.plane === "random_plane" ? [] : [label]));
  };

  let latest = 0;
  const show = async () => {
    const turn = ++latest; // an answer that comes after a newer question is dropped
    const runs = state.slugs.map((slug) => known.get(slug));
    showNumbers(runs);
    runs.forEach((run, side) => {
      Object.assign(panels[side].link, { href: `runs/${run.shown}.html`, textContent: run.title });
      panels[side].select.value = run.slug;
    });
    const has = runs.map((run) => run.planes.includes(state.plane));
    const planes = await Promise.all(runs.map(async (run, side) => {
      if (!has[side]) return null;
      return (await lossatlas.planes(run.shown))[state.plane];
    })).catch((error) => { panels[0].note.textContent = error.message; return [null, null]; });
    const Plotly = await lossatlas.plotly();
    if (turn !== latest) return;
    const there = planes.filter(Boolean);
    const splits = there.length ? Object.keys(there[0].values) : [];
    if (!splits.includes(state.split)) state.split = splits[0];
    showControls(splits);
    const shared = there.length ? { scale: lossatlas.sharedScale(there) } : {};
    if (state.equal && there.length) shared.ranges = lossatlas.sharedRanges(there);
    for (const [side, plane] of planes.entries()) {
      panels[side].note.textContent = plane ? "" : "There is no such surface of this run.";
      if (plane) await lossatlas.draw(panels[side].plot, plane, state.split, shared);
      else Plotly.purge(panels[side].plot);
    }
    if (there.length === 2) link(Plotly);
  };

  const fromAddress = () => {
    const [first, second] = decodeURIComponent(location.hash.slice(1)).split(",");
    const slugs = lossatlas.runs.map((run) => run.slug);
    const one = known.has(first) ? first : slugs[0];
    const next = slugs[(slugs.indexOf(one) + 1) % slugs.length];
    state.slugs = [one, known.has(second) ? second : next];
    show();
  };

  window.addEventListener("hashchange", fromAddress);
  fromAddress();
})();
