"use strict";
(async () => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const { items, parts, choices } = content;
  const main = document.getElementById("main"), foot = document.getElementById("foot");
  const sender = content.sender || "the person who sent you this page";
  const WORDS = [["say", "I say it"], ["heard", "I have heard it", "but do not say it"], ["never", "Not said here"]];
  const JUDGED = [["natural", "Natural", "I could say that"], ["stiff", "Stiff", "a bit awkward"], ["wrong", "Wrong", "there is a mistake"], ["not_doric", "Not Doric", "English or other Scots"]];
  const ANSWERS = { word: WORDS, line: JUDGED, row: JUDGED, pair: [["first", "The first"], ["second", "The second"], ["same", "No difference"]] };
  const answersOf = (item) => item.kind === "choice" ? [...item.options.map((text) => [text, text]), ["both", item.options.length > 2 ? "More than one" : "Both"], ["neither", item.options.length > 2 ? "None of them" : "Neither"]] : ANSWERS[item.kind];
  const shownOf = (item) => item.kind === "pair" ? `${item.text}\n---\n${item.second}` : item.text;
  const isShort = (item) => item.kind === "word" || item.kind === "choice";

  const store = openStore(`doric-review:${content.page}:`, () => warn());
  const { read, write, remove } = store;
  await store.restore();
  const answer = (item) => read(`a:${item.id}`);
  const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const tab = randomId();
  let reader = read("reader");
  if (!reader) reader = { id: randomId(), place: "", region: "", age: "", learnt: "", name: null, publish: false, publish_name: false, licence: null };
  if (!read("started")) write("started", new Date().toISOString());
  write("reader", reader);

  function warn() {
    const box = document.getElementById("warn");
    box.textContent = "Careful: your answers are lost when you close this page, because this phone or computer does not keep them. Go on, but send your answers before you close it.";
    box.hidden = store.keeps();
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
    const sums = {};
    for (const key of store.keys().filter((each) => each.startsWith("s:"))) {
      const part = key.split(":")[1];
      sums[part] = Math.round((sums[part] || 0) + (read(key) || 0));
    }
    return sums;
  }

  // --- screens
  const SCREENS = { welcome, about, parts: partList, pause, end };
  let screen = null, editing = false, unsent = false;
  const nameOf = (shown) => shown.item ? shown.item.id : shown.name;
  const screenOf = (name) => {
    const item = items.find((each) => each.id === name);
    return item ? { item } : Object.keys(SCREENS).includes(name) ? { name } : null;
  };
  /** Show a screen. Each has its own entry in the browser's history, so that the phone's Back button goes back one screen. */
  function show(next, message = "", enter = "push") {
    tick();
    editing = false;
    screen = next;
    timed = next.item ? next.item.part : null;
    write("at", nameOf(next));
    if (next.item) write("last", next.item.id);
    if (enter !== "none") remember(enter === "replace" || history.state?.edit);
    draw();
    say(message);
  }
  function remember(replace, edit = false) {
    try { history[replace ? "replaceState" : "pushState"]({ at: nameOf(screen), edit }, ""); } catch { /* pages from some programs have no history */ }
  }
  function draw(focus = true) {
    main.replaceChildren();
    foot.replaceChildren();
    document.getElementById("where").textContent = screen.name === "welcome" ? "" : "How do you say it?";
    document.getElementById("bar").hidden = !screen.item;
    (screen.item ? question : SCREENS[screen.name])();
    if (focus) { scrollTo(0, 0); main.focus({ preventScroll: true }); }
  }
  const navigation = (...buttons) => make("div", { className: "nav" }, ...buttons);
  const sendButton = () => button("Send my answers", () => show({ name: "end" }), { className: "main" });
  const kept = () => store.keeps() ? "You can close the page now. To go on another day, open the same file on the same phone or computer: you come back to where you stopped." : "This phone or computer does not keep them, so send them before you close the page.";

  function welcome() {
    const facts = [
      "Do as much or as little as you like. Even ten minutes helps.",
      store.keeps() ? "Each answer is saved on this phone or computer. You can stop at any time, and go on another day." : null,
      `Nobody sees your answers until you send them to ${sender}. At the end the page tells you how.`,
      "It costs nothing and needs no internet.",
    ];
    main.append(
      make("h1", {}, "How do you say it?"),
      make("p", {}, "A computer is learning Doric, and it makes mistakes. Only people who speak Doric can put it right."),
      make("p", {}, "You see a word or a sentence, and tap the button for what you would say yourself. There are no wrong answers."),
      make("ul", {}, ...facts.filter(Boolean).map((text) => make("li", {}, text))),
    );
    foot.append(button("Start", () => show({ name: "about" }), { className: "main" }));
  }

  function about() {
    const field = (label, control) => { const made = make("label", {}, label); made.append(control); return made; };
    const choose = (key, options) => make("select", { onchange: (event) => set(key, event.target.value) }, make("option", { value: "" }, "Tap here to choose"), ...options.map((text) => make("option", { value: text, selected: reader[key] === text }, text)));
    const set = (key, value) => { reader[key] = value; write("reader", reader); unsent = true; };
    const tickBox = (key, text, after = () => {}) => make("label", { className: "tick" }, make("input", { type: "checkbox", checked: reader[key], onchange: (event) => { set(key, event.target.checked); after(); } }), make("span", {}, text));
    const nameLeave = tickBox("publish_name", "You may show my name with them.");
    const licence = () => { set("licence", reader.publish ? "CC0-1.0" : null); nameLeave.hidden = !reader.publish; if (!reader.publish) { set("publish_name", false); nameLeave.querySelector("input").checked = false; } };
    nameLeave.hidden = !reader.publish;
    main.append(
      make("h1", {}, "A few words about you"),
      make("p", {}, "Doric is not the same everywhere, so this helps. Leave empty what you do not want to say."),
      field("Where did you grow up? (town, village or parish)", make("input", { value: reader.place, maxLength: 80, autocomplete: "off", oninput: (event) => set("place", event.target.value) })),
      field("Which area is that? (leave it if you are not sure)", choose("region", choices.regions)),
      field("How old are you?", choose("age", choices.ages)),
      field("How did you come by your Doric?", choose("learnt", choices.learnt)),
      field("Your name, if you like", make("input", { value: reader.name || "", maxLength: 80, autocomplete: "off", oninput: (event) => set("name", event.target.value || null) })),
      make("h2", {}, "May other people see your answers?"),
      tickBox("publish", "Yes. Anybody may see and use my answers, for instance on the internet or in a dictionary. My area may be shown with them, but not my name.", licence),
      nameLeave,
      make("p", { className: "soft" }, `Without this tick, only ${sender} and those who make the computer's Doric see your answers, and use them to correct it. (The tick puts your answers under CC0: you keep no rights in them.)`),
    );
    foot.append(button("Next", () => show({ name: screen.next ?? "parts" }), { className: "main" }));
  }

  const firstOpen = (part) => itemsOf(part).find((item) => !answer(item)) || itemsOf(part)[0];
  function partList() {
    main.append(make("h1", {}, "Choose a part"), make("p", {}, "Do them in any order, and leave out what you like. The first is the easiest."));
    const list = make("div", { className: "list" });
    parts.forEach((part, at) => {
      const all = itemsOf(part).length, progress = done(part) ? `${done(part)} of ${all} answered, ${left(part)}` : `${all} questions, ${left(part).replace(" left", "")}`;
      list.append(make("button", { type: "button", onclick: () => show({ item: firstOpen(part) }) }, make("b", {}, `${at + 1}. ${part.title}`), make("small", {}, part.about), make("small", { className: "soft" }, progress)));
    });
    main.append(list);
    if (count()) foot.append(sendButton());
    foot.append(navigation(button("About me", () => show({ name: "about" }))));
  }

  function question() {
    const item = screen.item, part = partOf(item), all = itemsOf(part), at = all.indexOf(item), given = answer(item);
    document.getElementById("where").textContent = `${at + 1} of ${all.length} in this part, ${left(part)}`;
    const percent = Math.round(100 * done(part) / all.length);
    document.getElementById("bar").setAttribute("aria-valuenow", percent);
    document.querySelector("#bar i").style.width = `${percent}%`;
    main.append(...({ choice: choiceText, word: wordText, pair: pairText })[item.kind]?.(item) ?? lineText(item));
    if (given?.better && !editing) main.append(soft("You would say:"), make("div", { className: "say mine" }, given.better));
    if (editing) return edit(item, given);
    const row = make("div", { className: "answers", role: "group", "aria-label": "Your answer" });
    answersOf(item).forEach(([value, text, hint], number) => row.append(make("button", { type: "button", onclick: () => choose(item, value), "aria-pressed": String(given?.answer === value) }, text, make("kbd", { "aria-hidden": "true" }, ` ${number + 1}`), hint ? make("small", {}, hint) : null)));
    if (item.kind !== "pair") row.append(button(isShort(item) ? "I say something else" : "Write it my way", () => openEditor(), { id: "edit" }));
    foot.append(row, navigation(
      button("◀ Back", () => go(-1), { disabled: at === 0 }), button("Stop for now", () => show({ name: "pause" })), button(given ? "Next ▶" : "Skip ▶", () => go(1))));
  }
  const soft = (text) => make("p", { className: "soft" }, text);
  const choiceText = (item) => [soft(item.text), make("h1", {}, "What do you say in the gap?"), make("div", { className: "say" }, item.example)];
  const wordText = (item) => [make("h1", { className: "word" }, item.text), make("p", {}, `It means: ${item.gloss}`), item.example ? soft("For example:") : null, item.example ? make("div", { className: "say" }, item.example) : null].filter(Boolean);
  const slotsOf = (item) => [...new Set(item.text.match(/\[\w+\]/g))].join(" and ");
  const lineText = (item) => [
    item.ask ? soft("Somebody asks:") : null, item.ask ? make("p", {}, item.ask) : null,
    editing ? null : make("h1", {}, item.kind === "row" ? "How does this answer sound?" : "How does this sound?"),
    editing ? null : make("div", { className: item.text.length > 200 ? "say long" : "say" }, item.text),
    item.example ? soft(slotsOf(item) ? `In place of ${slotsOf(item)} come other words, for example:` : "These words begin a sentence, for example:") : null,
    item.example ? make("p", { className: "example" }, item.example) : null,
  ].filter(Boolean);
  const pairText = (item) => [soft("Somebody asks:"), make("p", {}, item.ask), make("h1", {}, "Which of these two answers sounds better?"), make("p", {}, "The first:"), make("div", { className: "say long" }, item.text), make("p", {}, "The second:"), make("div", { className: "say long" }, item.second)];

  function openEditor() {
    editing = true;
    remember(false, true);
    draw(false);
    say("");
  }
  function edit(item, given) {
    const short = isShort(item), draft = read(`d:${item.id}`);
    const box = make(short ? "input" : "textarea", { id: "better", maxLength: 4000, value: draft ?? given?.better ?? (short ? "" : item.text), autocomplete: "off", spellcheck: false });
    box.setAttribute("autocapitalize", "off");
    const label = make("label", { htmlFor: "better" }, short ? "What do you say? Write it here:" : "Change it to what you would say, then tap Save:");
    main.append(label, box, ...(item.example && !short && slotsOf(item) ? [soft(`Please leave ${slotsOf(item)} as it is.`)] : []));
    const close = (message = "") => { remove(`d:${item.id}`); show({ item }, message); };
    const keep = () => {
      const text = box.value.trim(), better = text && (short || text !== item.text) ? text : null;
      if (better) save(item, given?.answer ?? "better", better);
      else if (given?.better) save(item, given.answer, null);
      if (!better) return close(given?.better ? "✓ Your words are removed." : "Nothing was changed.");
      if (!short) return close("✓ Saved in your words. Tap Next, or say how the first version sounds.");
      remove(`d:${item.id}`);
      go(1, `✓ Saved: ${better}`);
    };
    const fit = () => { if (!short) { box.style.height = "auto"; box.style.height = `${box.scrollHeight + 4}px`; } };
    box.addEventListener("input", () => { write(`d:${item.id}`, box.value); fit(); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && !event.isComposing && (short || event.ctrlKey || event.metaKey)) { event.preventDefault(); keep(); }
      event.stopPropagation();
    });
    foot.append(make("div", { className: "answers" }, button("Cancel", () => close()), button("Save", keep, { className: "main" })));
    fit();
    box.focus({ preventScroll: true });
    label.scrollIntoView({ block: "nearest" });
  }

  function save(item, value, better) {
    unsent = true;
    if (value === "better" && !better) return remove(`a:${item.id}`);
    write(`a:${item.id}`, { item: item.id, part: item.part, shown: shownOf(item), answer: value, better: better ?? null, at: new Date().toISOString() });
  }
  function choose(item, value) {
    save(item, value, answer(item)?.better);
    go(1, `✓ Saved${item.kind === "word" ? ` for “${item.text}”` : ""}: ${answersOf(item).find(([each]) => each === value)[1]}`);
  }
  function go(step, message = "") {
    const all = itemsOf(partOf(screen.item)), at = all.indexOf(screen.item) + step;
    if (at < 0) return;
    if (at < all.length) return show({ item: all[at] }, message);
    show({ name: "pause" }, message);
  }

  function pause() {
    const total = count(), part = partOf(items.find((item) => item.id === read("last")) || items[0]), open = itemsOf(part).length - done(part);
    main.append(make("h1", {}, open ? "Enough for today?" : "That part is done. Thank you!"));
    main.append(make("p", {}, total ? `You have answered ${questions(total)}.${store.keeps() ? ` ${total === 1 ? "It is" : "They are all"} saved on this phone or computer.` : ""}` : "You have not answered a question yet."));
    if (total) main.append(make("p", {}, kept()), make("p", {}, "You can send what you have now, and send again when you have done more. Nothing counts twice."));
    const list = make("div", { className: "list" });
    if (open) list.append(button(`Go on with “${part.title}” (${open} left)`, () => show({ item: firstOpen(part) })));
    list.append(button("Choose another part", () => show({ name: "parts" })));
    main.append(list);
    if (total) foot.append(sendButton());
  }
  const questions = (total) => `${total} ${total === 1 ? "question" : "questions"}`;

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
  /** The answers as files to share, the best first: phones share .txt, but not .json. */
  const files = () => {
    const text = JSON.stringify(result()), name = fileName();
    return [new File([text], name, { type: "application/json" }), new File([text], name.replace(/json$/, "txt"), { type: "text/plain" })];
  };
  const shareable = () => { try { return files().find((file) => navigator.canShare?.({ files: [file] })); } catch { return undefined; } };
  const steps = (...texts) => make("ol", {}, ...texts.map((text) => make("li", {}, text)));
  function tell(...content) {
    document.getElementById("note").replaceChildren(...content);
    document.getElementById("note").scrollIntoView({ block: "nearest" });
  }
  function download() {
    const [file] = files();
    const link = make("a", { href: URL.createObjectURL(file), download: file.name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    unsent = false;
    tell(
      make("p", {}, make("b", {}, "Your answers are now in a file, but not sent yet. "), "Please do this:"),
      steps(`Open WhatsApp or your mail, and write to ${sender}.`, "Tap the paper clip or the +, then Document or File.", `Choose the file ${file.name}. It is in Downloads, usually at the top.`, "Send it. Then you are done, and can close this page."),
    );
  }
  async function send() {
    const file = shareable();
    if (!file) return download();
    try {
      await navigator.share({ files: [file], title: "Doric answers" });
      unsent = false;
      tell(make("p", {}, make("b", {}, "Thank you! "), `If you sent the file to ${sender}, you are done and can close this page.`), make("p", {}, "If you answer more another day, send them again. Nothing counts twice."));
    } catch (error) {
      if (error.name !== "AbortError") return download();
      tell(make("p", {}, "Nothing was sent. Your answers are still here: tap the button again when you want to send them."));
    }
  }
  function end() {
    const total = count(), shares = shareable();
    main.append(make("h1", {}, total ? "Send your answers" : "No answers yet"));
    main.append(make("p", {}, total ? `You have answered ${questions(total)}. Thank you!` : "Go back and answer some questions first."));
    const note = make("div", { id: "note", role: "status" });
    if (total) note.append(shares ? steps("Tap the button below.", "Choose WhatsApp, or your mail.", `Choose ${sender}, and send.`) : make("p", {}, `Tap the button below. It makes a file of your answers. Then the page tells you how to send the file to ${sender}.`));
    main.append(note);
    if (total && (!reader.region || !reader.age || !reader.learnt)) main.append(make("p", {}, "You have not said yet which area you are from, your age, or how you came by your Doric. With that, your answers help much more."), button("Say it now", () => show({ name: "about", next: "end" })));
    if (total) foot.append(button(shares ? "Send my answers" : "Make the file of my answers", send, { className: "main" }));
    if (total && shares) main.append(make("p", { className: "soft" }, "Does that not work? "), button("Save the answers as a file instead", download));
    foot.append(navigation(button("◀ Go on answering", () => show({ name: "parts" }))));
  }

  document.addEventListener("keydown", (event) => {
    if (!screen.item || editing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const answers = answersOf(screen.item), number = Number(event.key);
    if (number >= 1 && number <= answers.length) choose(screen.item, answers[number - 1][0]);
    else if (event.key.toLowerCase() === "e" && screen.item.kind !== "pair") { event.preventDefault(); openEditor(); }
    else if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
  });
  addEventListener("popstate", (event) => {
    const before = screenOf(event.state?.at);
    if (before) show(before, "", "none");
  });
  addEventListener("storage", (event) => {
    if (event.key?.endsWith(":reader")) reader = read("reader") || reader;
    if (!editing && screen.name !== "about" && event.key?.includes(":a:")) draw(false);
  });
  addEventListener("pagehide", tick);
  addEventListener("beforeunload", (event) => { if (unsent && !store.keeps() && count()) event.preventDefault(); });

  const before = screenOf(read("at"));
  warn();
  show(before || { name: "welcome" }, before && count() ? `Welcome back. Your ${questions(count()).replace("question", "answer")} ${count() === 1 ? "is" : "are"} still here.` : "", "replace");
  if (screen.item && typeof read(`d:${screen.item.id}`) === "string") openEditor();
})();
