"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();  // a file may have no storage
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" }[theme];
    button.dataset.now = theme;
    try { localStorage.setItem("theme", theme); } catch { /* then it lasts as long as the page */ }
  };
  button.addEventListener("click", () => show(themes[(themes.indexOf(button.dataset.now) + 1) % 3]));
  show(themes.includes(remembered) ? remembered : "auto");
  button.hidden = false;

  const tip = document.getElementById("tip");
  let held = null;
  const hide = () => { tip.hidden = true; held?.removeAttribute("aria-describedby"); held = null; };
  const tell = (word) => {
    hide();
    held = word;
    tip.textContent = word.dataset.g;
    tip.hidden = false;
    word.setAttribute("aria-describedby", "tip");
    const at = word.getClientRects()[0];
    const left = Math.min(Math.max(4, at.left), root.clientWidth - tip.offsetWidth - 4);
    const above = at.top - tip.offsetHeight - 6;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 0 ? above : at.bottom + 6) + scrollY}px`;
  };
  const over = (event) => event.target.closest?.(".w");
  document.addEventListener("mouseover", (event) => { const word = over(event); if (word) tell(word); });
  document.addEventListener("mouseout", (event) => { if (over(event) && document.activeElement !== held) hide(); });
  document.addEventListener("focusin", (event) => { const word = over(event); if (word) tell(word); else hide(); });
  document.addEventListener("click", (event) => { const word = over(event); if (word) tell(word); else hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  const list = document.getElementById("talks");
  const form = document.getElementById("filters");
  if (!list || !form) return;
  const talks = [...list.children].map((node) => ({ node, ...node.dataset, words: node.textContent.toLowerCase() }));
  const orders = {
    worst: (a, b) => a.points - b.points,
    best: (a, b) => b.points - a.points,
    lost: (a, b) => a.gain - b.gain,
    won: (a, b) => b.gain - a.gain,
    asked: (a, b) => a.at - b.at,
  };
  const sift = () => {
    const { bucket, fate, order, search } = Object.fromEntries(new FormData(form));
    const wanted = search.trim().toLowerCase();
    const fits = (one) => (!bucket || one.bucket === bucket) && (!fate || one.fate === fate) && one.words.includes(wanted);
    let count = 0;
    for (const one of talks) { const shown = fits(one); one.node.hidden = !shown; count += shown; }
    list.append(...[...talks].sort((a, b) => orders[order](a, b) || a.at - b.at).map((one) => one.node));
    document.getElementById("count").textContent = `${count} of ${talks.length} shown`;
  };
  form.addEventListener("input", sift);
  form.addEventListener("submit", (event) => event.preventDefault());
  sift();
})();
