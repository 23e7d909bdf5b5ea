"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();  // pages opened from disk may have no storage
  const show = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[theme];
    button.dataset.now = theme;
    try { localStorage.setItem("theme", theme); } catch { /* then the choice lasts as long as the page is open */ }
  };
  button.addEventListener("click", () => show(themes[(themes.indexOf(button.dataset.now) + 1) % 3]));
  show(themes.includes(remembered) ? remembered : "auto");
  button.hidden = false;

  const tip = document.getElementById("tip");
  let shown = null;
  const hide = () => { tip.hidden = true; shown?.removeAttribute("aria-describedby"); shown = null; };
  const explain = (word) => {
    hide();
    shown = word;
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
  document.addEventListener("mouseover", (event) => { const word = over(event); if (word) explain(word); });
  document.addEventListener("mouseout", (event) => { if (over(event) && document.activeElement !== shown) hide(); });
  document.addEventListener("focusin", (event) => { const word = over(event); if (word) explain(word); else hide(); });
  document.addEventListener("click", (event) => { const word = over(event); if (word) explain(word); else hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  const list = document.getElementById("answer-list");
  const form = document.getElementById("filters");
  if (!list || !form) return;
  const answers = [...list.children].map((node) => ({ node, ...node.dataset, words: node.textContent.toLowerCase() }));
  const orders = {
    worst: (a, b) => a.points - b.points,
    best: (a, b) => b.points - a.points,
    losses: (a, b) => a.gain - b.gain,
    gains: (a, b) => b.gain - a.gain,
    asked: (a, b) => a.number - b.number,
  };
  const update = () => {
    const { bucket, outcome, order, search } = Object.fromEntries(new FormData(form));
    const query = search.trim().toLowerCase();
    const matches = (answer) => (!bucket || answer.bucket === bucket) && (!outcome || answer.outcome === outcome) && answer.words.includes(query);
    let count = 0;
    for (const answer of answers) { const fits = matches(answer); answer.node.hidden = !fits; count += fits; }
    list.append(...[...answers].sort((a, b) => orders[order](a, b) || a.number - b.number).map((answer) => answer.node));
    document.getElementById("count").textContent = `${count} of ${answers.length} shown`;
  };
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
