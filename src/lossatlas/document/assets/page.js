// What every page has: its folder of assets, light and dark, contents that fold on a narrow screen.
"use strict";
window.lossatlas = window.lossatlas || {};

lossatlas.assets = new URL(".", document.currentScript.src).href;

(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  const remembered = () => {
    try { return localStorage.getItem("lossatlas-theme"); } catch { return null; }
  };

  const remember = (theme) => {
    try { localStorage.setItem("lossatlas-theme", theme); } catch { /* the choice lasts as long as the page */ }
  };

  lossatlas.isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";

  const show = (theme) => {
    if (theme) root.dataset.theme = theme;
    document.dispatchEvent(new Event("lossatlas-theme"));
  };

  show(remembered());
  dark.addEventListener("change", () => show(null));

  lossatlas.button = (text, act) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", act);
    return button;
  };

  const theme = lossatlas.button("Light or dark", () => {
    const chosen = lossatlas.isDark() ? "light" : "dark";
    remember(chosen);
    show(chosen);
  });
  theme.className = "theme";
  (document.querySelector(".side .tools") || document.querySelector("nav.top"))?.append(theme);

  const contents = document.querySelector(".side details");
  const narrow = window.matchMedia("(max-width: 70rem)");
  if (contents && narrow.matches) contents.open = false;
  narrow.addEventListener("change", () => { if (contents) contents.open = !narrow.matches; });
  contents?.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) contents.open = false;
  });

  // Where the reader is in the contents.
  const entries = new Map([...document.querySelectorAll(".side a[href^='#']")].map((a) => [a.hash.slice(1), a]));
  const seen = new Set();
  const watch = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) seen.add(target); else seen.delete(target);
    }
    const innermost = [...seen].filter((section) => ![...seen].some((other) => other !== section && section.contains(other)));
    const first = innermost.sort((a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1)[0];
    if (!first) return;
    for (const [id, entry] of entries) entry.toggleAttribute("aria-current", id === first.id);
    const [entry, side] = [entries.get(first.id), document.querySelector(".side")];
    const outside = entry.offsetTop < side.scrollTop || entry.offsetTop > side.scrollTop + side.clientHeight - 40;
    if (outside) side.scrollTop = entry.offsetTop - side.clientHeight / 3;
  }, { rootMargin: "-15% 0px -70% 0px" });
  for (const id of entries.keys()) {
    const section = document.getElementById(id);
    if (section) watch.observe(section);
  }
})();
