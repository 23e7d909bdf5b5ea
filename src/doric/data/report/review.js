"use strict";
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const { items, parts, choices } = content;
  const prefix = `doric-review:${content.page}:`;
  const main = document.getElementById("main"), foot = document.getElementById("foot");
  const ANSWERS = {
    word: [["say", "I say it"], ["heard", "I've heard it"], ["never", "Not said here"]],
    line: [["natural", "Natural"], ["stiff", "Stiff"], ["wrong", "Wrong"], ["not_doric", "Not Doric"]],
    row: [["natural", "Natural"], ["stiff", "Stiff"], ["wrong", "Wrong"], ["not_doric", "Not Doric"]],
    pair: [["first", "The first"], ["second", "The second"], ["same", "No difference"]],
  };
  const answersOf = (item) => item.kind === "choice" ? [...item.options.map((text) => [text, text]), ["both", item.options.length > 2 ? "More than one" : "Both"], ["neither", "None of them"]] : ANSWERS[item.kind];
  const shownOf = (item) => item.kind === "pair" ? `${item.text}\n---\n${item.second}` : item.text;

  // --- storage: every answer has its own key, so that two tabs do not overwrite each other's answers
  const memory = new Map(); // only what the browser did not take
  let stores = true;
  try {
    localStorage.setItem(`${prefix}test`, "1");
    stores = localStorage.getItem(`${prefix}test`) === "1";
    localStorage.removeItem(`${prefix}test`);
  } catch { stores = false; }
  const read = (key) => {
    try { return JSON.parse(memory.get(key) ?? localStorage.getItem(prefix + key)); } catch { return null; }
  };
  const write = (key, value) => {
    const text = JSON.stringify(value);
    try { localStorage.setItem(prefix + key, text); memory.delete(key); return; } catch { memory.set(key, text); }
    stores = false;
    warn();
  };
  const answer = (item) => read(`a:${item.id}`);
  const remove = (key) => { memory.delete(key); try { localStorage.removeItem(prefix + key); } catch { stores = false; } };
  const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const tab = randomId();
  let reader = read("reader");
  if (!reader) reader = { id: randomId(), place: "", region: "", age: "", learnt: "", name: null, publish: false, publish_name: false, licence: null };
  if (!read("started")) write("started", new Date().toISOString());
  write("reader", reader);

  function warn() {
    const box = document.getElementById("warn");
    box.textContent = "Your browser does not keep your answers, maybe because this is a private window. You can go on, but do not close this page before you have sent or saved your answers at the end.";
    box.hidden = stores;
  }

  // --- small helpers
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }
  const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);
  const say = (text) => { document.getElementById("live").textContent = text; };
  const itemsOf = (part) => items.filter((item) => item.part === part.number);
  const partOf = (item) => parts.find((part) => part.number === item.part);
  const done = (part) => itemsOf(part).filter(answer).length;
  const count = () => items.filter(answer).length;
  const left = (part) => {
    const all = itemsOf(part).length, minutes = Math.ceil(part.minutes * (all - done(part)) / all);
    return done(part) === all ? "finished" : `about ${minutes} ${minutes === 1 ? "minute" : "minutes"} left`;
  };

  // --- time per part, of this tab
  let since = Date.now(), timed = null;
  function tick() {
    const passed = Math.min(120, (Date.now() - since) / 1000);
    since = Date.now();
    if (timed) write(`s:${timed}:${tab}`, (read(`s:${timed}:${tab}`) || 0) + passed);
  }
  function seconds() {
    const sums = {}, keys = new Set(memory.keys());
    try { for (const key of Object.keys(localStorage)) if (key.startsWith(`${prefix}s:`)) keys.add(key.slice(prefix.length)); } catch { stores = false; }
    for (const key of keys) if (key.startsWith("s:")) {
      const part = key.split(":")[1];
      sums[part] = Math.round((sums[part] || 0) + (read(key) || 0));
    }
    return sums;
  }

  // --- screens
  let screen = null, editing = false;
  function show(next, focus = true) {
    tick();
    screen = next;
    timed = next.item ? next.item.part : null;
    write("at", next.item ? next.item.id : next.name);
    draw(focus);
  }
  function draw(focus = true) {
    main.replaceChildren();
    foot.replaceChildren();
    document.getElementById("where").textContent = "How do you say it?";
    document.getElementById("bar").hidden = !screen.item;
    ({ about, parts: partList, item: question, end })[screen.item ? "item" : screen.name]();
    if (focus) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
  }

  function about() {
    const field = (label, control) => { const made = make("label", {}, label); made.append(control); return made; };
    const choose = (key, options) => make("select", { onchange: (event) => set(key, event.target.value) }, make("option", { value: "" }, "Please choose"), ...options.map((text) => make("option", { value: text, selected: reader[key] === text }, text)));
    const set = (key, value) => { reader[key] = value; write("reader", reader); };
    const tickBox = (key, text, after = () => {}) => make("label", { className: "tick" }, make("input", { type: "checkbox", checked: reader[key], onchange: (event) => { set(key, event.target.checked); after(); } }), make("span", {}, text));
    const nameLeave = tickBox("publish_name", "You may publish my name with them.");
    const licence = () => { set("licence", reader.publish ? "CC0-1.0" : null); nameLeave.hidden = !reader.publish; if (!reader.publish) { set("publish_name", false); nameLeave.querySelector("input").checked = false; } };
    nameLeave.hidden = !reader.publish;
    main.append(
      make("h1", {}, "How do you say it?"),
      make("p", {}, "A computer is learning Doric, and it needs people who speak it. You read words and sentences and say whether they are right. There are no wrong answers: say what you would say yourself."),
      make("p", {}, `Do as much as you like. There are ${parts.length === 1 ? "about" : `${parts.length} parts, of about`} ${parts.map((part) => Math.ceil(part.minutes)).join(", ")} minutes, and you can stop at any time. ${stores ? "Your answers are kept on this phone or computer until you send them." : ""} Nothing is sent until you press the button at the end.`),
      make("h2", {}, "First, a few words about you"),
      field("Where did you grow up? (town, village or parish)", make("input", { value: reader.place, maxLength: 80, autocomplete: "off", oninput: (event) => set("place", event.target.value) })),
      field("Which area is that?", choose("region", choices.regions)),
      field("How old are you?", choose("age", choices.ages)),
      field("How did you come by your Doric?", choose("learnt", choices.learnt)),
      field("Your name, if you like", make("input", { value: reader.name || "", maxLength: 80, autocomplete: "off", oninput: (event) => set("name", event.target.value || null) })),
      tickBox("publish", "You may publish my answers for anybody to use (CC0), without my name.", licence),
      nameLeave,
      make("p", { className: "soft" }, "Without these ticks, your answers are used to correct the words, and are not published."),
    );
    foot.append(button("Start", () => show({ name: "parts" }), { className: "main" }));
  }

  function partList() {
    const first = (part) => itemsOf(part).find((item) => !answer(item)) || itemsOf(part)[0];
    main.append(make("h1", {}, "What would you like to do?"), make("p", {}, "Do the parts in any order. You can leave any of them out."));
    const list = make("div", { className: "list" });
    for (const part of parts) list.append(button("", () => show({ item: first(part) })));
    [...list.children].forEach((entry, at) => entry.append(make("b", {}, `${at + 1}. ${parts[at].title}`), make("small", {}, parts[at].about), make("small", { className: "soft" }, `${done(parts[at])} of ${itemsOf(parts[at]).length} done, ${left(parts[at])}`)));
    main.append(list);
    foot.append(button("I have finished: send my answers", () => show({ name: "end" }), { className: "main" }), make("div", { className: "nav" }, button("About me", () => show({ name: "about" }))));
  }

  function question() {
    const item = screen.item, part = partOf(item), all = itemsOf(part), at = all.indexOf(item), given = answer(item);
    document.getElementById("where").textContent = `${part.title}: ${at + 1} of ${all.length}, ${left(part)}`;
    const percent = Math.round(100 * done(part) / all.length);
    document.getElementById("bar").setAttribute("aria-valuenow", percent);
    document.querySelector("#bar i").style.width = `${percent}%`;
    main.append(...({ choice: choiceText, word: wordText, pair: pairText })[item.kind]?.(item) ?? lineText(item));
    if (given?.better) main.append(make("p", { className: "soft" }, "You would say:"), make("div", { className: "say mine" }, given.better));
    if (editing) return edit(item, given);
    const keys = answersOf(item);
    const row = make("div", { className: "answers", role: "group", "aria-label": "Your answer" });
    keys.forEach(([value, text], number) => row.append(button(text, () => choose(item, value), { "aria-pressed": String(given?.answer === value) })));
    [...row.children].forEach((each, number) => each.append(make("kbd", { "aria-hidden": "true" }, ` ${number + 1}`)));
    if (item.kind !== "pair") row.append(button(item.kind === "word" || item.kind === "choice" ? "I say something else" : "Write it better", () => openEditor(), { id: "edit" }));
    foot.append(row, make("div", { className: "nav" },
      button("◀ Back", () => go(-1), { disabled: at === 0 }), button("All parts", () => show({ name: "parts" })), button(given ? "Next ▶" : "Skip ▶", () => go(1))));
  }
  const choiceText = (item) => [make("h1", {}, item.text), make("p", { className: "soft" }, "Which would you put in the gap?"), make("div", { className: "say" }, item.example)];
  const wordText = (item) => [make("h1", { className: "word" }, item.text), make("p", {}, `meaning: ${item.gloss}`), item.example ? make("p", { className: "soft" }, "For example:") : null, item.example ? make("div", { className: "say" }, item.example) : null].filter(Boolean);
  const lineText = (item) => [make("h1", { className: "sr" }, "How does this sound?"), item.ask ? make("p", { className: "soft" }, `Somebody asks: ${item.ask}`) : null, make("p", { className: "soft" }, "How does this sound?"), make("div", { className: item.text.length > 200 ? "say long" : "say" }, item.text), /\[\w+\]/.test(item.text) ? make("p", { className: "soft" }, "Words such as [topic] stand for whatever it is about.") : null].filter(Boolean);
  const pairText = (item) => [make("h1", {}, "Which of the two sounds better?"), make("p", { className: "soft" }, `Somebody asks: ${item.ask}`), make("p", {}, "The first:"), make("div", { className: "say long" }, item.text), make("p", {}, "The second:"), make("div", { className: "say long" }, item.second)];

  function openEditor() { editing = true; draw(false); }
  function edit(item, given) {
    const short = item.kind === "word" || item.kind === "choice";
    const box = make(short ? "input" : "textarea", { id: "better", maxLength: 4000, value: given?.better ?? (short ? "" : item.text), autocomplete: "off", spellcheck: false });
    box.setAttribute("autocapitalize", "off");
    const label = make("label", { htmlFor: "better" }, short ? "What do you say?" : "Write it the way you would say it:");
    main.append(label, box);
    const close = () => { editing = false; draw(); };
    const keep = () => {
      const text = box.value.trim(), better = text && (short || text !== item.text) ? text : null;
      editing = false;
      if (better) save(item, given?.answer ?? "better", better);
      else if (given?.better) save(item, given.answer, null);
      say(better ? "Kept." : "Nothing changed.");
      if (better && short) go(1); else draw();
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (short || event.ctrlKey || event.metaKey)) { event.preventDefault(); keep(); }
      event.stopPropagation();
    });
    foot.append(make("div", { className: "answers" }, button("Leave it", close), button("Keep this", keep, { className: "main" })));
    box.focus();
    box.scrollIntoView({ block: "nearest" });
  }

  function save(item, value, better) {
    if (value === "better" && !better) return remove(`a:${item.id}`);
    write(`a:${item.id}`, { item: item.id, part: item.part, shown: shownOf(item), answer: value, better: better ?? null, at: new Date().toISOString() });
  }
  function choose(item, value) {
    save(item, value, answer(item)?.better);
    say(`Answer kept: ${answersOf(item).find(([each]) => each === value)[1]}.`);
    go(1);
  }
  function go(step) {
    editing = false;
    const all = itemsOf(partOf(screen.item)), at = all.indexOf(screen.item) + step;
    if (at < 0) return;
    show(at < all.length ? { item: all[at] } : { name: "parts" });
    if (at >= all.length) say("That was the end of this part.");
  }

  // --- the end
  const crcTable = Array.from({ length: 256 }, (_, value) => { for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1; return value >>> 0; });
  const crc32 = (text) => {
    let sum = 0xffffffff;
    for (const byte of new TextEncoder().encode(text)) sum = crcTable[(sum ^ byte) & 255] ^ (sum >>> 8);
    return ((sum ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
  };
  function result() {
    tick();
    const answers = items.map(answer).filter(Boolean), given = { ...(read("reader") || reader) };
    return { format: "doric-review", version: 1, page: content.page, reader: given, started: read("started"), saved: new Date().toISOString(), seconds: seconds(), answers, checksum: crc32(JSON.stringify(answers)) };
  }
  const fileName = () => `doric-review-${(reader.place.normalize("NFKD").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 30) || "reader").toLowerCase()}-${reader.id}.json`;
  function download(file) {
    const link = make("a", { href: URL.createObjectURL(file), download: file.name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say("Saved.");
    const note = document.getElementById("note");
    if (note) note.textContent = `Your answers are in the file ${file.name}, in the folder Downloads of this phone or computer. Please send that file back to the person who sent you this page.`;
  }
  async function send() {
    const file = new File([JSON.stringify(result())], fileName(), { type: "application/json" });
    const shared = new File([file], file.name.replace(/json$/, "txt"), { type: "text/plain" }); // phones do not share .json
    for (const each of [file, shared]) if (navigator.canShare?.({ files: [each] })) {
      try { await navigator.share({ files: [each], title: "Doric answers" }); document.getElementById("note").textContent = "Thank you! If you answer more, send the answers again: the newest count."; return; } catch (error) { if (error.name === "AbortError") return; }
      break;
    }
    download(file);
  }
  function end() {
    const total = count();
    main.append(make("h1", {}, total ? "Thank you!" : "No answers yet"), make("p", {}, `You have answered ${total} of ${items.length} questions.`),
      make("p", { id: "note", role: "status" }, total ? "Press the button. Then send the file to the person who sent you this page." : "Go back and answer some questions first."));
    if (!reader.region || !reader.age || !reader.learnt) main.append(make("p", {}, "You have not said yet where you are from, your age, or how you came by your Doric. Your answers help much more with it."), button("Say it now", () => show({ name: "about" })));
    foot.append(button("Send or save my answers", send, { className: "main", disabled: !total }), make("div", { className: "nav" }, button("◀ Back", () => show({ name: "parts" }))));
  }

  document.addEventListener("keydown", (event) => {
    if (!screen.item || editing || event.ctrlKey || event.metaKey || event.altKey) return;
    const answers = answersOf(screen.item), number = Number(event.key);
    if (number >= 1 && number <= answers.length) choose(screen.item, answers[number - 1][0]);
    else if (event.key === "e" && screen.item.kind !== "pair") { event.preventDefault(); openEditor(); }
    else if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
  });
  addEventListener("storage", (event) => {
    if (event.key === `${prefix}reader`) reader = read("reader") || reader;
    if (screen && !editing && screen.name !== "about" && event.key?.startsWith(`${prefix}a:`)) draw(false);
  });
  addEventListener("pagehide", tick);
  const at = read("at"), open = items.find((item) => item.id === at);
  if (!stores) warn();
  show(open ? { item: open } : { name: ["parts", "end"].includes(at) ? at : "about" }, false);
})();
