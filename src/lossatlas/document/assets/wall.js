// A wall of small pictures in a grid of two factors of the reader's choice; a tap opens what a picture shows.
"use strict";

(() => {
  const element = (tag, fields = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), fields);
    made.append(...children);
    return made;
  };
  const words = (name) => name[0].toUpperCase() + name.slice(1);

  const make = (figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const parts = (name) => name.split(" · ");
    const level = (tile, factor) => tile.levels[data.factors.indexOf(factor)];
    const joined = (tile, factors) => factors.map((factor) => level(tile, factor)).join(" · ");
    // In the order of the study, the first factor outermost.
    const levels = (factors) => {
      const there = new Set(data.tiles.map((tile) => joined(tile, factors)));
      const of = (factor) => [...new Set(data.tiles.map((tile) => level(tile, factor)))];
      const every = factors.reduce((names, factor) => names.flatMap((name) => of(factor).map((one) => (name ? `${name} · ${one}` : one))), [""]);
      return every.filter((name) => there.has(name));
    };
    const several = data.factors.filter((factor) => levels([factor]).length > 1);
    const state = { rows: data.rows, columns: data.columns, fixed: {} };
    const bar = element("div", { className: "bar" });
    const frame = element("div", { className: "grid" });
    const opened = element("div", { className: "opened" });
    const scale = element("img", { className: "scale", src: data.scale, alt: "Heights, and what is marked" });
    const live = element("div", { className: "live" }, bar, frame, scale, opened);
    let before = null;

    // One factor, or two that stand together.
    const choices = () => {
      const made = [...several];
      for (const [i, one] of several.entries()) for (const other of several.slice(i + 1)) made.push(`${one} · ${other}`);
      return made.filter((name) => levels(parts(name)).length <= 24);
    };

    const chooser = (name, options, chosen, choose) => {
      const select = element("select", { ariaLabel: name });
      for (const option of options) select.append(element("option", { value: option, textContent: option, selected: option === chosen }));
      select.addEventListener("change", () => { choose(select.value); show(); });
      return element("label", {}, `${name} `, select);
    };

    const apart = (other) => (name) => !parts(name).some((factor) => parts(other).includes(factor));

    const show = () => {
      if (!apart(state.columns)(state.rows)) state.columns = choices().find(apart(state.rows)) ?? state.rows;
      const used = [...parts(state.rows), ...parts(state.columns)];
      const rest = several.filter((factor) => !used.includes(factor));
      for (const factor of rest) state.fixed[factor] ??= levels([factor])[0];
      bar.replaceChildren(
        chooser("Rows", choices(), state.rows, (name) => { state.rows = name; }),
        chooser("Columns", choices().filter(apart(state.rows)), state.columns, (name) => { state.columns = name; }),
        ...rest.map((factor) => chooser(words(factor), levels([factor]), state.fixed[factor], (name) => { state.fixed[factor] = name; })),
      );
      const shown = data.tiles.filter((tile) => rest.every((factor) => level(tile, factor) === state.fixed[factor]));
      const at = new Map(shown.map((tile) => [`${joined(tile, parts(state.rows))}|${joined(tile, parts(state.columns))}`, tile]));
      const [rows, columns] = [state.rows, state.columns].map((name) => levels(parts(name)));
      const table = element("table", {}, element("tr", {}, element("td"), ...columns.map((name) => element("th", { scope: "col", textContent: name }))));
      for (const row of rows) {
        const cells = columns.map((column) => element("td", {}, at.has(`${row}|${column}`) ? opener(at.get(`${row}|${column}`)) : ""));
        table.append(element("tr", {}, element("th", { scope: "row", textContent: row }), ...cells));
      }
      frame.style.setProperty("--columns", columns.length);
      frame.replaceChildren(table);
    };

    const opener = (tile) => {
      const name = tile.levels.filter((_, i) => several.includes(data.factors[i])).join(" · ");
      const picture = element("img", { src: tile.image, alt: name, decoding: "async", loading: "lazy" });
      const button = element("button", { type: "button", title: name }, picture);
      button.addEventListener("click", () => open(tile, name, button));
      return button;
    };

    const open = async (tile, name, button) => {
      frame.querySelector("[aria-pressed]")?.removeAttribute("aria-pressed");
      button.setAttribute("aria-pressed", "true");
      const plot = element("div", { className: "plot" });
      const note = element("output");
      const links = element("p", {}, element("a", { href: tile.page, textContent: "Its page" }));
      if (before && tile.surface && before.surface[0] !== tile.surface[0]) {
        links.append(" · ", element("a", {
          href: `${lossatlas.assets}compare.html#${before.surface[0]},${tile.surface[0]}`,
          textContent: `Beside ${before.name}`,
        }));
      }
      const numbers = element("dl");
      for (const [term, value] of tile.numbers) numbers.append(element("dt", { textContent: term }), element("dd", { textContent: value }));
      const about = element("div", { className: "about" }, element("h3", { textContent: name }), links, numbers, note);
      window.Plotly?.purge(opened.querySelector(".plot") ?? plot);
      opened.replaceChildren(plot, about);
      opened.scrollIntoView({ block: "nearest", behavior: "smooth" });
      if (!tile.surface) { plot.remove(); return; }
      before = { name, surface: tile.surface };
      try {
        const plane = (await lossatlas.planes(tile.surface[0]))[tile.surface[1]];
        const splits = Object.keys(plane.values);
        await lossatlas.draw(plot, plane, splits[0]);
        if (splits.length > 1) about.append(lossatlas.choice(splits.map((split) => [split, split]), splits[0], (split) => plot.redraw(split)));
      } catch (error) {
        note.textContent = error.message;
      }
    };

    show();
    figure.querySelector(".stage").after(live);
    figure.classList.add("alive");
  };

  document.querySelectorAll("figure.wall").forEach(make);
})();
