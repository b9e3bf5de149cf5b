// Data and plotly from disk. A page that was opened as a file may not fetch; it may add scripts, and they call back.
"use strict";

(() => {
  const scripts = new Map();
  const arrived = new Map();

  const load = (name) => {
    if (!scripts.has(name)) {
      scripts.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = lossatlas.assets + name;
        script.onload = resolve;
        script.onerror = () => {
          scripts.delete(name);
          reject(new Error(`assets/${name} cannot be read: is the folder assets/ still beside report.html?`));
        };
        document.head.append(script);
      }));
    }
    return scripts.get(name);
  };

  // Called by assets/planes/<run>.js.
  lossatlas.receive = (slug, planes) => arrived.set(slug, planes);

  lossatlas.planes = async (slug) => {
    await load(`planes/${slug}.js`);
    return arrived.get(slug);
  };

  lossatlas.plotly = async () => {
    await load("plotly.min.js");
    return window.Plotly;
  };
})();
