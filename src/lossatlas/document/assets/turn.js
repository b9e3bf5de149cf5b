// Pictures of surfaces get a button that puts the surface in their place.
"use strict";

(() => {
  const MOST = 6; // surfaces alive at once: browsers stop drawing the oldest of some 8 or 16
  const alive = [];

  const makeTurning = (figure) => {
    const { run, plane: name } = figure.dataset;
    const stage = figure.querySelector(".stage");
    const picture = stage.firstElementChild;
    const bar = document.createElement("div");
    bar.className = "bar";
    const status = document.createElement("output");

    const back = () => {
      const plot = stage.querySelector(".plot");
      if (plot) window.Plotly.purge(plot);
      stage.replaceChildren(picture);
      bar.replaceChildren(turn, status);
      const place = alive.indexOf(back);
      if (place >= 0) alive.splice(place, 1);
    };

    const turn = lossatlas.button("Turn the surface", async () => {
      turn.disabled = true;
      status.textContent = "loading";
      const plot = document.createElement("div");
      plot.className = "plot";
      try {
        const drawing = document.createElement("canvas").getContext("webgl");
        if (!drawing) throw new Error("this browser has no WebGL, so the surface does not turn");
        const plane = (await lossatlas.planes(run))[name];
        await lossatlas.plotly();
        const splits = Object.keys(plane.values);
        if (alive.length >= MOST) alive[0]();
        alive.push(back);
        stage.replaceChildren(plot);
        await lossatlas.draw(plot, plane, splits[0]);
        const choice = lossatlas.choice(splits.map((split) => [split, split]), splits[0], (split) => plot.redraw(split));
        bar.replaceChildren(lossatlas.button("Picture", back), ...(splits.length > 1 ? [choice] : []), status);
        status.textContent = "";
      } catch (error) {
        status.textContent = error.message;
      }
      turn.disabled = false;
    });

    bar.append(turn, status);
    stage.after(bar);
  };

  document.querySelectorAll("figure[data-plane]").forEach(makeTurning);

  // The page of a run leads with its surfaces: they turn at once.
  for (const figure of document.querySelectorAll("body.run #surfaces figure[data-plane]")) {
    figure.querySelector(".bar button").click();
  }
})();
