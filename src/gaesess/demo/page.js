"use strict";

const LABELS = {
  "read": "Read", "sign-in": "Sign in", "put": "Put into the cart", "take": "Take from the cart", "resize": "Resize",
  "regenerate": "Regenerate id", "end-soon": "End soon", "sign-out": "Sign out", "tamper": "Tamper", "expired": "Time is over",
};
const MAP_BYTES = { header: 32, payload: 48, tag: 32 };
const SOON_SECONDS = 10;
const MAX_LOG_ENTRIES = 30;

const byId = (id) => document.getElementById(id);
const setText = (id, text) => { byId(id).textContent = text; };
const count = (number) => number.toLocaleString("en");
const bytes = (number) => `${count(number)} bytes`;

let state = null;
let clockOffset = 0; // the server's clock against this one, in milliseconds
let expiryShown = 0; // the end that was already asked about, so that it is asked about once
let queue = Promise.resolve(); // requests go one after the other: the log shows them in the order they happened
let wantedSize = null; // where the slider is, if the server has not been asked for that yet
let resizing = false;

/* ---- talking to the server */

function ask(action, values) {
  queue = queue.then(() => send(action, values)).catch((error) => fail(action, error.message));
  return queue;
}

async function send(action, values) {
  const reading = action === "read" || action === "expired";
  const response = reading
    ? await fetch("/state")
    : await fetch(`/actions/${action}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values || {}),
      });
  const text = await response.text();
  if (!response.ok) {
    let message = text;
    try { message = JSON.parse(text).error; } catch { /* the session middleware answers in plain text */ }
    throw new Error(message);
  }
  show(action, JSON.parse(text));
}

function fail(action, message) {
  announce("failed", message);
  log(action, { kind: "failed", text: message, calls: [] });
}

/* ---- showing what it said */

function show(action, fresh) {
  state = fresh;
  clockOffset = fresh.now * 1000 - Date.now();
  const { contents, commit, home } = fresh;
  byId("journey").dataset.home = home || "none";
  setText("core", fresh.core);
  setText("engines", fresh.engines.join(" → "));
  setText("puck", home ? bytes(contents.bytes) : "nothing");
  setText("home", home ? `the ${home}` : "–");
  setText("data-bytes", home ? bytes(contents.bytes) : "–");
  setText("revision", home ? count(fresh.revision) : "–");
  setText("cookie-place", home === "store" ? "only a pointer stays" : "in the browser, sealed");
  setText("store-place", fresh.engines.join(" → "));
  setText("signed-in", contents.name ? `signed in as ${contents.name}` : "not signed in");
  showCookie(fresh.cookie, fresh.limits);
  showToken(fresh);
  showCart(contents.cart);
  showSize(contents, fresh.limits);
  showCountdown();
  for (const button of document.querySelectorAll("[data-needs]")) button.disabled = !home;
  announce(commit.kind, commit.text);
  log(action, commit);
}

function announce(kind, text) {
  byId("commit-dot").dataset.kind = kind;
  setText("commit", text);
}

function showCookie(cookie, limits) {
  const bar = byId("bar");
  const { pair, line } = cookie || { pair: 0, line: 0 };
  setText("gauge-text", cookie ? `${bytes(pair)}, ${count(line)} with its attributes` : "no cookie");
  setText("gauge-limit", `gaesess stops at ${count(limits.cookie)} of ${count(limits.browser)}`);
  bar.setAttribute("aria-valuemax", limits.browser);
  bar.setAttribute("aria-valuenow", line);
  bar.setAttribute("aria-valuetext", `${line} of ${limits.browser} bytes`);
  bar.querySelector(".bar-value").style.width = `${(pair / limits.browser) * 100}%`;
  bar.querySelector(".bar-attributes").style.width = `${((line - pair) / limits.browser) * 100}%`;
}

function showToken({ token, believed, commit }) {
  const verdict = !token ? "none" : believed ? "genuine" : "refused";
  byId("verdict").dataset.verdict = verdict;
  setText("verdict", { none: "no token", genuine: "genuine", refused: commit.kind === "tampered" ? "damaged" : "refused" }[verdict]);
  const cells = { header: [], payload: [], tag: [] };
  for (const field of token || []) {
    const part = cells[field.name] || cells.header;
    const shown = field.shown.match(/../g) || [];
    for (let at = 0; at < field.length && part.length < MAP_BYTES[part === cells.header ? "header" : field.name]; at++) {
      part.push({ field: field.name, text: shown[at] || "··", secret: at >= shown.length });
    }
  }
  for (const part of Object.keys(cells)) fillBytes(byId(`map-${part}`), cells[part]);
  const payload = token ? token.find((field) => field.name === "payload").length : 0;
  setText("map-payload-size", payload > MAP_BYTES.payload ? `${bytes(payload)}, the first ${MAP_BYTES.payload} here`
    : payload ? bytes(payload) : token ? "none: it is in the store" : "none");
  for (const row of byId("fields").rows) {
    const field = (token || []).find(({ name }) => name === row.dataset.field);
    row.cells[0].textContent = field ? field.offset : "–";
    row.cells[2].textContent = field ? describe(field) : "–";
  }
}

function describe({ name, length, shown, value }) {
  const when = () => new Date(value * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
  switch (name) {
    case "suite": return `0x${shown}: ${value}`;
    case "key": return `0x${value}`;
    case "flags": return `0x${shown}: ${value.join(" ") || "none"}`;
    case "chunks": return value === 1 ? "1 cookie" : `${value} cookies`;
    case "expires": case "issued": return when();
    case "revision": return count(value);
    case "sid": return `${shown}… of ${bytes(length)}`;
    case "tag": return `${shown}… of ${bytes(length)}`;
    default: return length ? bytes(length) : "none: this is a pointer";
  }
}

function fillBytes(grid, cells) {
  [...grid.children].forEach((span, index) => {
    const cell = cells[index];
    span.textContent = cell ? cell.text : "";
    span.className = cell && cell.secret ? "secret" : "";
    if (cell) span.dataset.field = cell.field; else delete span.dataset.field;
  });
}

function showCart(cart) {
  for (const row of byId("cart").children) {
    const number = cart[row.dataset.item] || 0;
    row.querySelector(".count").textContent = number;
    row.querySelector("[data-action=take]").disabled = number === 0;
  }
}

// The slider is quadratic: the place where the cookie is full would be at its very left otherwise.
const sizeAt = (position, limits) => Math.round(limits.padding * (position / 1000) ** 2);
const positionOf = (size, limits) => Math.round(1000 * Math.sqrt(Math.max(0, size) / limits.padding));

function showSize(contents, limits) {
  const slider = byId("size");
  const full = positionOf(limits.data - (contents.bytes - contents.padding), limits) / 1000;
  byId("size-title").parentElement.style.setProperty("--full", `calc(12px + ${full} * (100% - 24px))`);
  if (wantedSize !== null) return;
  if (!resizing) slider.value = positionOf(contents.padding, limits);
  setText("size-text", bytes(contents.padding));
  slider.setAttribute("aria-valuetext", bytes(contents.padding));
}

function showCountdown() {
  const cell = byId("countdown");
  const left = state && state.expires ? state.expires - (Date.now() + clockOffset) / 1000 : 0;
  cell.textContent = state && state.home ? duration(Math.max(0, Math.ceil(left))) : "–";
  cell.classList.toggle("soon", Boolean(state && state.home) && left < SOON_SECONDS);
  if (state && state.home && left <= 0 && expiryShown !== state.expires) {
    expiryShown = state.expires;
    ask("expired");
  }
}

function duration(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const days = Math.floor(seconds / 86400);
  const clock = `${two(Math.floor(seconds / 3600) % 24)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

function log(action, { kind, text, calls }) {
  const details = calls.map((call) => {
    const size = call.size === null ? "" : `  ${bytes(call.size)}`;
    return `${call.engine} ${call.verb}${size}  ${call.milliseconds.toFixed(1)} ms`;
  });
  prepend("log", new Date(), kind, LABELS[action], text, details);
}

function logEvent({ name, level, message, fields, time }) {
  const kind = level >= 40 ? "failed" : level >= 30 ? "refused" : "none"; // as Python's logging numbers them
  const details = Object.entries(fields).map(([field, value]) => `${field}=${value}`).join("  ");
  prepend("events", new Date(time * 1000), kind, name, message, details ? [details] : []);
}

function prepend(list, time, kind, title, text, details) {
  const entry = document.createElement("li");
  const part = (tag, className, ...parts) => {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...parts);
    return made;
  };
  const dot = part("span", "dot");
  dot.dataset.kind = kind;
  entry.append(part("time", "", time.toLocaleTimeString("en-GB")), part("div", "said", dot, part("b", "", title)));
  entry.append(part("div", "said", text), ...details.map((detail) => part("div", "said calls", detail)));
  byId(list).prepend(entry);
  while (byId(list).children.length > MAX_LOG_ENTRIES) byId(list).lastChild.remove();
}

/* ---- what is there once, and what the visitor does */

function build() {
  for (const [part, number] of Object.entries(MAP_BYTES)) {
    byId(`map-${part}`).append(...Array.from({ length: number }, () => document.createElement("span")));
  }
  for (const [name, title] of [["suite", "suite"], ["key", "key id"], ["flags", "flags"], ["chunks", "chunks"], ["expires", "expires"],
    ["issued", "issued"], ["revision", "revision"], ["sid", "id"], ["payload", "payload"], ["tag", "tag"]]) {
    const row = byId("fields").insertRow();
    row.dataset.field = name;
    const heading = document.createElement("th");
    heading.scope = "row";
    heading.textContent = title;
    row.insertCell().textContent = "–";
    row.append(heading);
    row.insertCell().textContent = "–";
    row.addEventListener("pointerenter", () => light(name));
    row.addEventListener("pointerleave", () => light(null));
  }
}

function light(name) {
  for (const span of document.querySelectorAll(".bytes span")) span.classList.toggle("lit", name !== null && span.dataset.field === name);
}

function buildCart(items) {
  byId("cart").replaceChildren(...items.map((item) => {
    const row = document.createElement("li");
    row.dataset.item = item;
    const button = (action, sign, label) => {
      const made = document.createElement("button");
      made.type = "button";
      made.dataset.action = action;
      made.textContent = sign;
      made.setAttribute("aria-label", `${label} ${item}`);
      made.addEventListener("click", () => ask(action, { item }));
      return made;
    };
    const part = (className, text) => {
      const made = document.createElement("span");
      made.className = className;
      made.textContent = text;
      return made;
    };
    row.append(part("item", item), button("take", "−", "Remove one"), part("count", "0"), button("put", "+", "Add one"));
    return row;
  }));
}

async function resize() {
  wantedSize = sizeAt(byId("size").valueAsNumber, state.limits);
  setText("size-text", bytes(wantedSize));
  byId("size").setAttribute("aria-valuetext", bytes(wantedSize));
  if (resizing) return;
  resizing = true;
  while (wantedSize !== null) { // of all that the slider passes while a request is under way, only the last counts
    const size = wantedSize;
    wantedSize = null;
    await ask("resize", { size });
  }
  resizing = false;
}

async function start() {
  build();
  new EventSource("/events").onmessage = (event) => logEvent(JSON.parse(event.data));
  const first = await (await fetch("/state")).json();
  buildCart(first.limits.catalogue);
  setText("end-seconds", first.limits.seconds_to_end);
  show("read", first);
  byId("size").addEventListener("input", resize);
  byId("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    ask("sign-in", { name: byId("name").value });
  });
  for (const button of document.querySelectorAll(".deeds button")) {
    button.addEventListener("click", () => {
      ask(button.dataset.action);
      if (button.dataset.action === "tamper") ask("read");
    });
  }
  setInterval(showCountdown, 250);
}

start().catch((error) => announce("failed", `The server did not answer: ${error.message}`));
