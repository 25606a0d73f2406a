"use strict";
// Shows what the dashboard says, and works out nothing of its own. All that comes from elsewhere is set as text.

const POINTS_MAX = 450, POINT = ["at", "updates", "requests", "p50_s", "p99_s", "repairs", "stale", "errors", "up"];
const byId = (id) => document.getElementById(id);

// --- numbers for people ---------------------------------------------------------------------------------------------

const count = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0 || value >= 100) return Math.round(value).toLocaleString("en");
  return value >= 10 ? value.toFixed(value % 1 > 0.05 && value < 20 ? 1 : 0) : value >= 0.05 ? String(Number(value.toFixed(1))) : "< 0.1";
};
const seconds = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  if (value < 0.001) return `${Math.round(1e6 * value)} µs`;
  if (value < 1) return `${value < 0.01 ? Number((1e3 * value).toFixed(1)) : Math.round(1e3 * value)} ms`;
  return value < 120 ? `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} s` : value < 7200 ? `${Math.round(value / 60)} min` : value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} d`;
};
const bytes = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  let unit = 0;
  while (value >= 1000 && unit < 4) { value /= 1000; unit += 1; }
  return `${value >= 10 || !unit ? Math.round(value) : Number(value.toFixed(1))} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
};

// --- elements that stay: what has the focus keeps it ------------------------------------------------------------------

const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const icon = (level) => {
  const image = drawn("svg", { class: `icon ${level}`, "aria-hidden": "true" });
  image.append(drawn("use", { href: `#i-${level}` }));
  return image;
};
/** Rows of cells; a cell is text, or {key, make}: made anew when its key changes. */
const fill = (table, rows) => {
  const body = table.tBodies[0], labels = [...table.tHead.rows[0].cells];
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((cells, at) => {
    const row = body.rows[at] ?? body.insertRow();
    row.setAttribute("role", "row");
    cells.forEach((content, column) => {
      let cell = row.cells[column];
      if (!cell) {
        cell = row.insertCell();
        cell.setAttribute("role", "cell");
        cell.className = labels[column].className;
        cell.dataset.label = labels[column].textContent.replace(/(p99|\/s|times|digest)/, " $1");
      }
      if (typeof content === "string") set(cell, content);
      else if (cell.dataset.key !== content.key) {
        cell.dataset.key = content.key;
        cell.replaceChildren(...content.make());
      }
    });
  });
};
const span = (text, name) => Object.assign(document.createElement("span"), { textContent: text, className: name });

const said = document.body.appendChild(Object.assign(document.createElement("p"), { className: "visually-hidden" }));
said.setAttribute("aria-live", "polite");
const say = (text) => set(said, text);

// --- the view -----------------------------------------------------------------------------------------------------------

let points = [], latest = null, heardAt = performance.now(), ageThen = 0;

const charts = [
  { title: "Throughput", unit: "a second", floor: 1, format: count, series: [{ key: "updates", label: "updates" }, { key: "requests", label: "all requests" }] },
  { title: "Time to reply", unit: "at the servers", floor: 0.001, format: seconds, series: [{ key: "p50_s", label: "p50" }, { key: "p99_s", label: "p99" }] },
  { title: "Contention", unit: "a second, all servers", floor: 1, format: count, series: [{ key: "stale", label: "too late" }, { key: "repairs", label: "repairs" }] },
  { title: "Errors", unit: "a second, all servers", floor: 1, format: count, series: [{ key: "errors", label: "refused or failed" }] },
].map((options) => new Chart(byId("charts"), options));

const WORDS = { accused: "accused of lying", newborn: "catching up", LIES: "lies" };
const stateWord = (server) => WORDS[server.state] ?? server.state;
const forText = (server) => (server.since_s === null ? "" : `${server.is_longer ? "≥ " : ""}${seconds(server.since_s)}`);

const showHero = (view) => {
  const { level, word, text, spare, lying } = view.headline;
  byId("hero").dataset.level = level;
  byId("verdict-icon").setAttribute("href", `#i-${level}`);
  byId("verdict-icon").parentNode.setAttribute("class", `big ${level}`);
  const title = { UP: "Up", DOWN: "Down", DANGER: "Danger" }[word] ?? word;
  set(byId("headline"), title);
  set(byId("headline-text"), `${text[0].toUpperCase()}${text.slice(1)}.`);
  set(byId("spare"), String(spare));
  set(byId("lying"), String(lying));
  set(byId("up"), `${view.up} of ${view.n}`);
  document.title = `${title}: ${spare} more may fail – Fivefold cluster`;
  const seats = view.servers.map((server) => {
    const seat = span("", `seat ${server.level}`);
    seat.append(icon(server.level), Object.assign(document.createElement("b"), { textContent: String(server.index) }), span(stateWord(server)));
    return seat;
  });
  const label = view.servers.map((server) => `server ${server.index} ${stateWord(server)}`).join(", ");
  if (byId("seats").getAttribute("aria-label") !== label) {
    byId("seats").setAttribute("aria-label", label);
    byId("seats").replaceChildren(...seats);
  }
};

const showRemarks = (view) => {
  const shown = view.remarks.filter((remark) => remark.level !== "good"), list = byId("remarks");
  const key = JSON.stringify(shown.map((remark) => ({ ...remark, since_s: remark.since_s === null ? "" : seconds(Math.round(remark.since_s)) })));
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const order = { bad: 0, warn: 1 };
  const items = shown.sort((one, other) => order[one.level] - order[other.level]).map((remark) => {
    const item = document.createElement("li");
    item.dataset.server = String(remark.server);
    const text = span("", "text");
    text.append(span(remark.level === "bad" ? "Serious: " : "Warning: ", "visually-hidden"), remark.text);
    item.append(icon(remark.level), text, span(remark.since_s === null ? remark.source : `${remark.source}, for ${seconds(Math.round(remark.since_s))}`, "source"));
    return item;
  });
  if (!items.length) {
    const item = document.createElement("li");
    item.append(icon("good"), span("Nothing speaks against any server.", "text"));
    items.push(item);
  }
  list.replaceChildren(...items);
};

const showServers = (view) => fill(byId("servers"), view.servers.map((server) => {
  const state = stateWord(server), gone = ["down", "silent"].includes(server.state);
  const disk = server.free_bytes === null ? "–" : bytes(server.free_bytes);
  return [
    { key: server.address, make: () => [String(server.index), span(server.address, "address")] },
    { key: `${state}${server.level}`, make: () => { const word = span("", `state ${server.level}`); word.append(icon(server.level), state); return [word]; } },
    forText(server),
    gone ? "–" : count(server.rates.updates),
    seconds(server.reply_s), seconds(server.commit_s),
    gone ? "–" : count(server.rates.repairs), gone ? "–" : count(server.rates.rejected),
    count(server.waiting), count(server.objects), bytes(server.memory_bytes), disk,
    server.version + (server.edition === null || !server.version ? "" : `, edition ${server.edition}`),
  ];
}));

const showLately = (view) => {
  fill(byId("hot"), view.hot.map((each) => [
    { key: each.object_id, make: () => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: each.object_id });
      button.addEventListener("click", () => { byId("id").value = each.object_id; ask(each.object_id); byId("object-title").scrollIntoView({ block: "start" }); });
      return [button];
    } },
    count(each.requests), count(each.stale),
  ]));
  fill(byId("loud"), view.loud.map((each) => [each.name, count(each.requests), count(each.throttled), each.rate === null ? "any" : count(each.rate)]));
  for (const name of ["hot", "loud"]) {
    byId(name).hidden = !view[name].length;
    byId(`no-${name}`).hidden = Boolean(view[name].length);
  }
};

const show = (data) => {
  if (latest && latest.version !== data.version) location.reload();
  latest = data;
  heardAt = performance.now();
  ageThen = data.view ? data.now - data.view.at : 0;
  if (data.points) points = data.points.map((each) => Object.fromEntries(POINT.map((name, at) => [name, each[at]])));
  else if (data.view?.point && points[points.length - 1]?.at !== data.view.at) points.push(Object.fromEntries(POINT.map((name, at) => [name, data.view.point[at]])));
  points.splice(0, points.length - POINTS_MAX);
  const refused = Object.entries(data.refused).map(([reason, times]) => `${reason} ${times}`).join(", ");
  set(byId("refused"), refused ? `Requests refused here: ${refused}.` : "No request to this page was refused.");
  set(byId("version"), `fivefold ${data.version}, a look each ${seconds(data.every_s)}.`);
  if (data.view) {
    showHero(data.view);
    showRemarks(data.view);
    showServers(data.view);
    showLately(data.view);
  }
  for (const chart of charts) chart.update(points, data.every_s);
  tick();
  document.documentElement.dataset.looks = String(Number(document.documentElement.dataset.looks ?? 0) + 1);
};

/** How old everything is, by this browser's clock since it came. */
const tick = () => {
  if (!latest) return;
  const age = ageThen + (performance.now() - heardAt) / 1000, stale = age > 3 * latest.every_s + 3;
  document.body.classList.toggle("is-stale", stale);
  set(byId("age"), latest.view ? `as of ${age < 1.5 ? "now" : `${seconds(Math.round(age))} ago`}` : "no look yet");
  const why = latest.failure || (source?.readyState === 1 ? "the dashboard cannot look" : "the dashboard does not answer, and is asked again");
  byId("stale").hidden = !stale;
  set(byId("stale"), stale ? `All below is ${seconds(Math.round(age))} old: ${why}.` : "");
};
setInterval(tick, 1000);

// --- changes ----------------------------------------------------------------------------------------------------------

let source = null;
const listen = () => {
  source = new EventSource("/events");
  source.addEventListener("message", (event) => show(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // it was refused: a browser does not try that again
    tick();
  });
};

// --- one object ---------------------------------------------------------------------------------------------------------

const KINDS = {
  METHOD: ["good", "A call on it takes one round trip: a quorum holds its newest candidate."],
  INLINE_METHOD: ["warn", "The next call first repairs it: its newest candidate has reached enough servers to be completed, not yet a quorum."],
  INLINE_BARRIER: ["warn", "The next call first completes a barrier that too few servers hold."],
  BARRIER: ["warn", "The next call first writes a barrier: some server holds a candidate that cannot be completed yet."],
  COPY: ["warn", "The next call first copies the last established version over a barrier."],
};
let asked = 0;

const ask = async (id) => {
  asked += 1;
  const number = asked, text = byId("object-text");
  set(text, `Asking all servers for ${id} …`);
  let found = null, why = "";
  try {
    const answer = await fetch(`/object?id=${encodeURIComponent(id)}`);
    if (answer.ok) found = await answer.json();
    else why = (await answer.text()).trim();
  } catch {
    why = "the dashboard does not answer";
  }
  if (number !== asked) return;
  byId("object-scroll").hidden = byId("object-key").hidden = !found;
  if (!found) return set(text, `${id}: ${why}.`);
  const [level, sentence] = KINDS[found.kind] ?? ["bad", "Fewer than a quorum of servers show a history of it."];
  const support = found.kind ? ` ${found.support} of ${found.servers.length} hold candidate ${found.newest}; ${found.needed} make it complete, ${found.repairable} repairable.` : "";
  const odd = found.servers.filter((server) => server.is_odd).map((server) => server.server);
  const differ = odd.length ? ` Server${odd.length > 1 ? "s" : ""} ${odd.join(", ")}: another version than others hold under the same name.` : "";
  text.replaceChildren(icon(odd.length ? "bad" : level), ` ${found.object_id}: ${found.kind ?? "unknown"}.${differ} ${sentence}${support}`);
  text.dataset.kind = found.kind ?? "";
  fill(byId("object"), found.servers.map((server) => [
    `server ${server.server}`,
    { key: `${number} ${server.server}`, make: () => [server.silence ? span(server.silence, "none") : chips(server, found)] },
    { key: `${number}`, make: () => version(server) },
  ]));
  return undefined;
};

const version = (server) => {
  if (!server.version) return [span(server.silence ? "" : "none, or not told", "none")];
  const digest = Object.assign(document.createElement("code"), { textContent: server.version });
  return server.is_odd ? [icon("bad"), " ", digest, span(" differs from the others", "odd")] : [digest];
};

const chips = (server, found) => {
  const list = span("", "chips");
  if (server.left_out) list.append(span(`${server.left_out} older`, "chip"));
  for (const each of server.candidates) {
    const weight = each.order >= found.needed ? "full" : each.order >= found.repairable ? "some" : "few";
    const chip = span(each.is_barrier ? each.name : each.name === "0" ? "0" : `${each.name} ◂ ${each.on}`, `chip ${weight}${each.is_barrier ? " barrier" : ""}`);
    chip.title = `${each.is_barrier ? "a barrier" : each.is_copy ? "a copy" : "a version"}, held by ${each.order}${each.objects > 1 ? `; over ${each.objects} objects` : ""}`;
    chip.append(span(` (${chip.title})`, "visually-hidden"));
    list.append(chip);
  }
  return list;
};

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("id").value) ask(byId("id").value);
});

// --- light and dark -----------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = (theme) => {
  document.documentElement.dataset.theme = theme;
  set(byId("theme"), theme === "dark" ? "Light" : "Dark");
};
const chosen = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
paint(chosen() ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (!chosen()) paint(dark.matches ? "dark" : "light"); });
byId("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", next); } catch { /* a browser may forbid it */ }
  paint(next);
});

show(JSON.parse(byId("data").textContent));
listen();
