// A surface that turns, from the numbers of assets/planes/<run>.js and the style of assets/surface-style.js.
// figures/interactive.py does the same for notebooks; a test holds the two to the same figure.
"use strict";

(() => {
  const isNumber = (value) => Number.isFinite(value);

  // Not Math.min(...values): a fine grid has more values than a call may have arguments.
  const extent = (values) => values.reduce(
    ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity],
  );

  const wantsLog = (grid) => {
    const finite = grid.filter(isNumber);
    const [low, high] = extent(finite.filter((value) => value > 0));
    return finite.every((value) => value >= 0) && Math.log10(high) - Math.log10(low) > lossatlas.style.decades;
  };

  const plotted = (values, log) => {
    if (!log) return values;
    return values.map((value) => (Array.isArray(value) ? plotted(value, log) : value > 0 ? Math.log10(value) : null));
  };

  // One scale for all splits of all planes given: log10 or not, the lowest and the highest value, as plotted.
  const scaleOf = (planes) => {
    const grid = planes.flatMap((plane) => Object.values(plane.values).flat(2));
    const marks = planes.flatMap((plane) => plane.marks.flatMap((mark) => Object.values(mark.values).flat()));
    const log = planes.every((plane) => plane.is_loss) && wantsLog(grid);
    const finite = plotted([...grid, ...marks], log).filter(isNumber);
    if (!finite.length) return { log, low: 0, high: 1 };
    const [low, high] = extent(finite);
    if (high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high))) return { log, low, high };
    const pad = 0.05 * Math.abs(low) || 1;
    return { log, low: low - pad, high: high + pad };
  };

  // Between two contours, and those inside the scale. As `scale.contour_step` and `scale.contours` in Python.
  const contourStep = ({ log, low, high }) => {
    const { decades, round, few, many } = lossatlas.style.steps;
    const extent = high - low;
    if (!(extent > 0)) return 1;
    if (log && extent > many) return Math.ceil(extent / many);
    if (log) return decades.find((step) => few <= extent / step && extent / step <= many) ?? Math.min(...decades);
    const power = 10 ** Math.floor(Math.log10(extent / 12));
    return [...round, 10].map((count) => Number((count * power).toPrecision(3))).find((step) => step >= 0.999999 * extent / 12);
  };

  const contours = (scale) => {
    const size = contourStep(scale);
    const [first, last] = [Math.floor(scale.low / size) + 1, Math.ceil(scale.high / size) - 1];
    return last < first ? { show: false } : { start: size * first, end: size * last, size };
  };

  const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  const raised = (power) => "10" + [...String(power)].map((sign) => RAISED[sign]).join("");

  const times = (count, power) => (
    power > -4 && power < 4 ? (count * 10 ** power).toFixed(Math.max(-power, 0)) : `${count} × ${raised(power)}`
  );

  // Whole decades; where there are fewer than three, 1, 2 and 5 (or 1 and 3) of each. As `style.log_ticks` in Python.
  const logTicks = ({ log, low, high }) => {
    if (!log) return {};
    const [first, last] = [Math.ceil(low), Math.floor(high)];
    const ticks = [];
    if (last - first >= 2) {
      const step = Math.max(1, Math.ceil((last - first + 1) / 6));
      for (let power = first; power <= last; power += step) ticks.push([power, raised(power)]);
    } else {
      for (const within of [[[1, 0], [2, 0.30103], [5, 0.69897]], [[1, 0], [3, 0.47712]]]) {
        ticks.length = 0;
        for (let power = first - 1; power <= last + 1; power += 1) {
          for (const [count, place] of within) {
            if (low <= power + place && power + place <= high) ticks.push([power + place, times(count, power)]);
          }
        }
        if (ticks.length <= 7) break;
      }
    }
    return { tickvals: ticks.map(([value]) => value), ticktext: ticks.map(([, text]) => text) };
  };

  // Paths and points on the surface, each in the style that the data name.
  const marks = (plane, split, { log, low, high }, style) => plane.marks.filter((mark) => split in mark.values).map((mark) => {
    const lift = style.lift[mark.style] * (high - low);
    const trace = {
      ...structuredClone(style[mark.style]),
      name: mark.name, x: mark.alpha, y: mark.beta,
      z: plotted(mark.values[split], log).map((height) => (height === null ? null : height + lift)),
    };
    if (mark.text) trace.text = mark.text;
    if (mark.size) trace.marker.size = mark.size;
    if (mark.color) trace.line.color = trace.marker.color = mark.color;
    return trace;
  });

  const ends = (values) => [values[0], values[values.length - 1]];

  // The traces and layout of one split. `scale` and `ranges` are given where several surfaces have one scale.
  lossatlas.surfaceFigure = (plane, split, { scale = scaleOf([plane]), ranges = null } = {}) => {
    const style = structuredClone(lossatlas.style);
    const { log, low, high } = scale;
    const ticks = logTicks(scale);
    const grid = {
      ...style.surface,
      x: plane.alpha.values,
      y: plane.beta.values,
      z: plotted(plane.values[split], log),
      customdata: plane.values[split],
      cmin: low,
      cmax: high,
    };
    Object.assign(grid.contours.z, contours(scale));
    grid.colorbar = { ...grid.colorbar, title: { text: plane.quantity }, ...ticks };
    const layout = style.layout;
    const axis = (name, title, range, more = {}) => {
      layout.scene[name] = { ...layout.scene[name], title: { text: title }, range, ...more };
    };
    axis("xaxis", plane.alpha.label, ranges?.alpha ?? ends(plane.alpha.values));
    axis("yaxis", plane.beta.label, ranges?.beta ?? ends(plane.beta.values));
    axis("zaxis", plane.quantity + (log ? ", log scale" : ""), [low, high], ticks);
    return { data: [grid, ...marks(plane, split, scale, style)], layout };
  };

  lossatlas.sharedScale = scaleOf;

  // Ranges of α and β that hold all planes.
  lossatlas.sharedRanges = (planes) => Object.fromEntries(["alpha", "beta"].map((axis) => {
    const values = planes.flatMap((plane) => ends(plane[axis].values));
    return [axis, extent(values)];
  }));

  // Draw, or draw anew, into an element: colors of the page's theme, the camera stays where the reader has turned it.
  lossatlas.draw = async (element, plane, split, shared = {}) => {
    const Plotly = await lossatlas.plotly();
    const { data, layout } = lossatlas.surfaceFigure(plane, split, shared);
    const style = getComputedStyle(document.body);
    const narrow = element.clientWidth < 480;
    layout.font = { color: style.color, family: style.getPropertyValue("--sans"), size: narrow ? 10 : 12 };
    data[0].showscale = !narrow; // the axis has the same numbers
    const { eye } = layout.scene.camera;
    const farther = element.clientWidth < 620 ? 1.2 : 1; // or titles of axes would be cut
    for (const axis of ["x", "y", "z"]) eye[axis] *= farther;
    const modeBarButtons = [["toImage", "zoom3d", "pan3d", "resetCameraDefault3d"]]; // none that leaves the disk
    const displayModeBar = narrow ? false : "hover";
    const config = { responsive: true, displaylogo: false, scrollZoom: false, modeBarButtons, displayModeBar };
    await Plotly.react(element, data, layout, config);
    element.redraw = (again = split) => lossatlas.draw(element, plane, again, shared);
  };

  document.addEventListener("lossatlas-theme", () => {
    for (const element of document.querySelectorAll(".js-plotly-plot")) element.redraw?.();
  });

  // Buttons of which one is pressed.
  lossatlas.choice = (names, chosen, choose) => {
    const group = document.createElement("span");
    group.className = "choice";
    group.setAttribute("role", "group");
    for (const [value, text] of names) {
      const button = lossatlas.button(text, () => {
        for (const other of group.children) other.ariaPressed = String(other === button);
        choose(value);
      });
      button.ariaPressed = String(value === chosen);
      group.append(button);
    }
    return group;
  };
})();
