"use strict";
// Rows are put in as text nodes, never as markup: what a row says stays what it says.
(() => {
  const at = (id) => document.getElementById(id);

  const theme = at("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Show the page ${isDark() ? "light" : "dark"}`); };
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  prefersDark.addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;

  const rows = JSON.parse(at("data").textContent);
  const found = { rows: rows.map((_, number) => number), place: 0 };
  const box = at("row"), find = at("find");
  // Signs that would turn text around or cannot be seen.
  const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  const spelt = (text) => text.replace(hidden, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const element = (name, kind, text) => {
    const made = document.createElement(name);
    made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function tokenOf(text, isTrained) {
    const token = element("span", `tok ${isTrained ? "t" : "u"}`);
    // A line end is shown before it is taken, so that a trained one is seen.
    spelt(text).split(/(\n)/).forEach((part) => {
      if (part === "\n") { token.append(element("span", "sign", "↵"), "\n"); } else if (part) { token.append(part); }
    });
    return token;
  }

  function show() {
    const row = rows[found.rows[found.place]];
    box.replaceChildren();
    at("before").disabled = found.place === 0;
    at("after").disabled = found.place >= found.rows.length - 1;
    if (!row) {
      at("place").textContent = "no row has it";
      at("facts").textContent = "";
      return;
    }
    const all = found.rows.length === rows.length ? "" : ` found among ${rows.length}`;
    at("place").textContent = `${found.place + 1} of ${found.rows.length}${all}`;
    const count = (number) => number.toLocaleString("en");
    const lost = row.tokens_lost ? `, ${count(row.tokens_lost)} cut off` : "";
    at("facts").textContent = spelt(`${row.split} row ${row.row} · ${row.origin} · ${count(row.token_count)} tokens, ${count(row.trained_count)} trained${lost}`);
    const whole = document.createDocumentFragment();
    row.tokens.forEach((text, number) => { if (text) whole.append(tokenOf(text, row.trained[number] === "1")); });
    if (row.tokens.length < row.token_count) whole.append(element("span", "u", `\n… ${count(row.token_count - row.tokens.length)} more tokens`));
    box.append(whole);
    box.scrollTop = 0;
  }

  function step(by) {
    const next = Math.min(Math.max(found.place + by, 0), found.rows.length - 1);
    if (next !== found.place && next >= 0) { found.place = next; show(); }
  }

  const texts = rows.map((row) => `${row.origin}\n${row.tokens.join("")}`.toLowerCase());
  find.addEventListener("input", () => {
    const wanted = find.value.toLowerCase();
    found.rows = rows.map((_, number) => number).filter((number) => texts[number].includes(wanted));
    found.place = 0;
    show();
  });
  find.form.addEventListener("submit", (event) => event.preventDefault());
  at("before").addEventListener("click", () => step(-1));
  at("after").addEventListener("click", () => step(1));
  const follow = (id, kind) => at(id).addEventListener("change", () => box.classList.toggle(kind, at(id).checked));
  follow("edges", "edges");
  follow("only", "only");

  const keys = { ArrowLeft: () => step(-1), k: () => step(-1), ArrowRight: () => step(1), j: () => step(1), "/": () => find.focus(), e: () => at("edges").click() };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target === find;
    if (isTyping && event.key === "Escape") { find.value = ""; find.dispatchEvent(new Event("input")); find.blur(); return; }
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  at("browser").hidden = false;
  show();
  document.documentElement.dataset.ready = String(rows.length);
})();
