// Tables with a caption sort by a click on a heading (up, down, as written) and show only the rows with all words of a filter.
"use strict";

(() => {
  const FILTER_FROM = 8; // rows
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const STATES = ["none", "ascending", "descending"];

  const numberOf = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));

  // Numbers by their value, other cells by their text; a cell without the number that others of its column have
  // comes last in both directions.
  const order = (column, state, rows) => {
    const sign = state === "descending" ? -1 : 1;
    const isNumeric = rows.some((row) => numberOf(row.cells[column]) !== null);
    return (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      if (!isNumeric) return sign * words.compare(a.textContent, b.textContent);
      const [x, y] = [numberOf(a), numberOf(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y);
    };
  };

  const makeSortable = (table, written) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = lossatlas.button(head.textContent, () => {
        const state = STATES[(STATES.indexOf(head.ariaSort || "none") + 1) % STATES.length];
        for (const other of heads) other.ariaSort = "none";
        head.ariaSort = state;
        const rows = state === "none" ? written : [...written].sort(order(column, state, written));
        table.tBodies[0].append(...rows);
      });
      button.title = "Sort by this column";
      head.ariaSort = "none";
      head.replaceChildren(button);
    });
  };

  const makeFilter = (figure, rows) => {
    const textOf = (row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    const texts = new Map(rows.map((row) => [row, textOf(row)]));
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "Filter rows";
    field.setAttribute("aria-label", "Show the rows with these words");
    const count = document.createElement("output");
    const show = () => {
      const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        row.hidden = !wanted.every((word) => texts.get(row).includes(word));
        shown += !row.hidden;
      }
      count.textContent = wanted.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    };
    field.addEventListener("input", show);
    show();
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.append(field, count);
    figure.querySelector(".frame").before(bar);
  };

  for (const figure of document.querySelectorAll("figure.table:has(figcaption)")) {
    const table = figure.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    if (rows.length > 1) makeSortable(table, rows);
    if (rows.length >= FILTER_FROM) makeFilter(figure, rows);
  }
})();
