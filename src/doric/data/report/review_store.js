"use strict";
/** Where the page keeps answers: in localStorage, which answers at once but reaches the disk seconds later, and in
 * IndexedDB, whose strict transactions are on the disk when they end. After a crash, the newer of the two is used.
 * Every answer has its own key, so that two tabs do not overwrite each other's answers. */
function openStore(prefix, changed) {
  const STAMP = "w", TABLE = "kept", WAIT = 1500;
  const memory = new Map(); // only what localStorage did not take
  const pending = new Map(); // what is to be written to IndexedDB; null: to be removed
  let local = true, database = null, writing = false;
  try {
    localStorage.setItem(`${prefix}test`, "1");
    local = localStorage.getItem(`${prefix}test`) === "1";
    localStorage.removeItem(`${prefix}test`);
  } catch { local = false; }

  const text = (key) => {
    if (memory.has(key)) return memory.get(key);
    try { return localStorage.getItem(prefix + key); } catch { return null; }
  };
  const read = (key) => { try { return JSON.parse(text(key)); } catch { return null; } };
  function put(key, value) {
    try { localStorage.setItem(prefix + key, value); memory.delete(key); } catch { memory.set(key, value); lost(); }
  }
  function drop(key) {
    memory.delete(key);
    try { localStorage.removeItem(prefix + key); } catch { lost(); }
  }
  function lost() {
    local = false;
    changed();
  }
  function keys() {
    const found = new Set(memory.keys());
    try { for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) found.add(key.slice(prefix.length)); } catch { local = false; }
    return [...found];
  }
  function write(key, value) {
    const made = JSON.stringify(value);
    put(key, made);
    note(key, made);
  }
  function remove(key) {
    drop(key);
    note(key, null);
  }

  // --- the copy in IndexedDB
  function note(key, value) {
    const stamp = String((Number(read(STAMP)) || 0) + 1);
    put(STAMP, stamp);
    pending.set(key, value).set(STAMP, stamp);
    flush();
  }
  function flush() {
    if (!database || writing || !pending.size) return;
    writing = true;
    const batch = [...pending];
    pending.clear();
    try {
      const change = database.transaction(TABLE, "readwrite", { durability: "strict" });
      const table = change.objectStore(TABLE);
      for (const [key, value] of batch) if (value === null) table.delete(prefix + key); else table.put(value, prefix + key);
      change.oncomplete = () => { writing = false; flush(); };
      change.onabort = withoutDatabase;
    } catch { withoutDatabase(); }
  }
  function withoutDatabase() {
    database = null;
    changed();
  }
  const opened = () => new Promise((resolve) => {
    setTimeout(resolve, WAIT, null);
    try {
      const request = indexedDB.open("doric-review", 1);
      request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
      request.onsuccess = () => resolve(request.result);
      request.onerror = request.onblocked = () => resolve(null);
    } catch { resolve(null); }
  });
  const done = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
  async function restore() {
    try {
      const found = await opened();
      if (!found) return;
      found.onclose = withoutDatabase;
      found.onversionchange = () => found.close();
      const all = IDBKeyRange.bound(prefix, `${prefix}\uffff`);
      const table = found.transaction(TABLE).objectStore(TABLE);
      const [names, values] = await Promise.all([done(table.getAllKeys(all)), done(table.getAll(all))]);
      const kept = new Map(names.map((name, at) => [name.slice(prefix.length), values[at]]));
      const [here, there] = [Number(read(STAMP)) || 0, Number(kept.get(STAMP)) || 0];
      if (there > here) {
        for (const key of keys()) if (!kept.has(key)) drop(key);
        for (const [key, value] of kept) put(key, value);
      } else if (here > there) {
        for (const key of kept.keys()) pending.set(key, null);
        for (const key of keys()) pending.set(key, text(key));
      }
      database = found;
      flush();
    } catch { database = null; }
  }
  return { read, write, remove, keys, restore, keeps: () => local || database !== null };
}
