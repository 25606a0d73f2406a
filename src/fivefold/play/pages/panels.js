// The panels beside the diagram: what happens, why, the table, the message.

const ROWS_AROUND = 24; // rows beyond those in sight that are in the page

class Panels {
  constructor(rules) {
    this.rules = rules;
    this.scroller = byId("scroller");
    this.scroller.addEventListener("scroll", () => this.drawRows(), { passive: true });
    const box = byId("rules-text");
    for (const [name, rule] of Object.entries(rules)) {
      box.append(make("h3", { id: "rule-" + name }, rule.title), make("p", {}, rule.text));
      if (rule.link) box.append(make("p", { class: "small" }, make("a", { href: rule.link }, "In the documentation")));
    }
    byId("why-link").addEventListener("click", (event) => {
      if (byId("why-link").getAttribute("href").startsWith("#rule")) {
        event.preventDefault();
        byId("rules").showModal();
        byId("rule-" + this.rule)?.scrollIntoView();
      }
    });
  }

  show(story) {
    this.story = story;
    byId("title").textContent = story.title;
    byId("summary").textContent = story.summary;
    byId("command").textContent = story.command;
    byId("cut").hidden = !story.cut;
    byId("cut").textContent = story.cut;
    const fact = (name, value, end) => [`${name} = `, make("b", {}, String(value)), end];
    byId("facts").replaceChildren(...fact("servers n", story.n, ", "), ...fact("faulty t", story.t, ", "), ...fact("of them liars b", story.b, ""),
      make("br"), ...fact(" quorum q", story.q, ", "), ...fact("repairable r", story.r, ""));
    this.showObjects(story);
    this.rowCount = -1;
    this.drawHeadings();
    this.scroller.scrollTop = 0;
  }

  // Up to two objects have a line each; of more, one is chosen, and only the rows that concern it are shown.
  showObjects(story) {
    const few = story.objects.length <= 2;
    byId("object-picker").hidden = few;
    const select = byId("object");
    select.replaceChildren(...story.objects.map((name, index) => make("option", { value: index }, name)));
    select.onchange = () => { this.choose([Number(select.value)]); };
    const busiest = this.busiest(story);
    if (!few) select.value = String(busiest);
    this.objects = few ? story.objects.map((_, index) => index) : [busiest];
    this.filter(story);
  }

  busiest(story) {
    const named = story.notes.length ? story.objects.findIndex((name) => story.notes[0][2].includes(name)) : -1;
    if (named >= 0) return named;
    const counts = new Array(story.objects.length).fill(0);
    for (const row of story.rows) for (const object of row[ROW.objects]) counts[object]++;
    return Math.max(0, counts.indexOf(Math.max(...counts)));
  }

  choose(objects) {
    this.objects = objects;
    this.filter(this.story);
    this.drawHeadings();
    this.rowCount = -1;
    this.update(this.step, true);
  }

  filter(story) {
    const all = story.rows.map((row, index) => [row, index]);
    const wanted = new Set(this.objects);
    this.rows = story.objects.length <= 2 ? all : all.filter(([row]) => row[ROW.objects].some((each) => wanted.has(each)));
  }

  get tall() { return this.objects.length > 1; }
  get rowHeight() { return this.tall ? 46 : 30; }

  drawHeadings() {
    const story = this.story, table = byId("table");
    table.className = this.tall ? "tall" : "";
    const names = make("tr", {}, make("th", { scope: "col" }, "request"), make("th", { scope: "col" }, "step"));
    for (let server = 0; server < story.n; server++) {
      const role = story.lanes.find(([name]) => name === "s" + server)?.[1];
      names.append(make("th", { scope: "col" }, `s${server}${role === "liar" ? " ✶" : ""}`));
    }
    names.append(make("th", { scope: "col" }, "what becomes of it"));
    this.now = make("tr", { class: "now" });
    table.tHead.replaceChildren(names, this.now);
    const liars = story.lanes.some(([, role]) => role === "liar") ? "; ✶ lies" : "";
    byId("table-hint").textContent = `replica histories, newest first; ✓ accepted${liars}`;
  }

  update(step, isForced) {
    const isNew = step !== this.step;
    this.step = step;
    if (!isNew && !isForced) return;
    const [, , , , text, why, row, content, rule] = this.story.steps[step] || [0, 0, 0, 0, "", -1, -1, -1, ""];
    byId("sentence").textContent = text || "Nothing happens in this recording.";
    this.drawNote(step);
    this.drawWhy(why, rule);
    this.drawNow(step);
    this.current = row;
    this.known = lastAtMost(this.rows, step, ([each]) => each[ROW.first]) + 1;
    this.scrollToRow();
    this.drawRows();
    byId("content-text").textContent = content < 0 ? "No message arrives or leaves in this step." : this.story.contents[content];
  }

  drawNote(step) {
    const place = lastAtMost(this.story.notes, step, (note) => note[0]);
    const [, heading, text] = place < 0 ? [0, "", ""] : this.story.notes[place];
    byId("note").hidden = place < 0;
    byId("note-heading").textContent = heading;
    byId("note-text").textContent = text;
  }

  // --- why --------------------------------------------------------------------------------------------------------

  drawWhy(index, ownRule) {
    const story = this.story, why = index < 0 ? null : story.whys[index];
    const kind = why ? why[WHY.kind] : "", badge = byId("why-kind");
    badge.hidden = !why;
    badge.className = "kind k-" + (kind || "none");
    badge.textContent = kind ? kind.replace("_", " ") : "no step";
    const who = why && why[WHY.lane] >= 0 ? story.lanes[why[WHY.lane]][0] : "";
    byId("why-text").textContent = why ? `${who}: ${why[WHY.text]}` : "Nothing is classified in this step.";
    const link = byId("why-link");
    const name = ownRule || (why ? why[WHY.rule] : "");
    link.hidden = !name;
    if (name) {
      this.rule = name;
      const rule = this.rules[this.rule];
      link.textContent = rule.title;
      link.setAttribute("href", rule.link || "#rule-" + this.rule);
    }
    byId("why-sets").replaceChildren(...(why ? why[WHY.sets].slice(0, 4).map((set) => this.setTable(set, why)) : []));
    byId("why-counts").replaceChildren(...(why ? this.bars(why) : []));
  }

  setTable([object, histories], why) {
    const culled = new Map(why[WHY.culled]);
    const head = make("tr", {}), body = make("tr", {});
    histories.forEach((history, server) => {
      head.append(make("th", { scope: "col" }, "s" + server));
      const cell = make("td", { class: culled.has(server) ? "culled" : "", title: culled.get(server) }, culled.has(server) ? "left out" : this.story.histories[history]);
      body.append(cell);
    });
    const caption = make("caption", {}, `Object history set of ${this.story.objects[object]}`);
    return make("table", { class: "ohs" }, caption, make("thead", {}, head), make("tbody", {}, body));
  }

  bars(why) {
    const { n, q, r } = this.story, several = why[WHY.sets].length > 1;
    return why[WHY.counts].slice(0, 8).map(([object, name, order]) => {
      const isBarrier = name.includes("b"), fill = make("div", { class: "fill" + (isBarrier ? " barrier" : order >= q ? " all" : order >= r ? " some" : "") });
      fill.style.width = (100 * order) / n + "%";
      const tick = (at, label) => {
        const element = make("i", { class: "tick", "data-label": label });
        element.style.left = (100 * at) / n + "%";
        return element;
      };
      const track = make("div", { class: "track" }, fill, tick(r, "r"), tick(q, "q"));
      const value = this.story.madeBy.get(object + "/" + name)?.[MADE.value] || "";
      const label = `⟨${name}⟩ ${value}` + (several ? " " + this.story.objects[object].split("/").pop() : "");
      const element = make("div", { class: "bar" }, make("span", {}, label), track, make("span", {}, `${order}/${n}`));
      element.title = `${order} of ${n} histories`;
      return element;
    });
  }

  // --- the table --------------------------------------------------------------------------------------------------

  drawNow(step) {
    const story = this.story, cells = [make("th", { scope: "row" }, "now"), make("td", {})];
    for (let server = 0; server < story.n; server++) {
      cells.push(this.cell(server, this.objects, step, (change) => change && change[CHANGE.step] === step ? "fresh" : "", this.isDown(server, step)));
    }
    cells.push(make("td", { class: "result" }, ""));
    this.now.replaceChildren(...cells);
  }

  isDown(server, step) {
    const lane = this.story.lanes.findIndex(([name]) => name === "s" + server);
    return this.story.spans.some(([first, last, at, what]) => at === lane && what === "down" && first <= step && step < last);
  }

  scrollToRow() {
    const place = this.rows.findIndex(([, index]) => index === this.current);
    const wanted = place >= 0 ? place : this.known - 1;
    const top = wanted * this.rowHeight, tall = this.scroller.clientHeight - 2 * this.rowHeight;
    if (top < this.scroller.scrollTop || top + this.rowHeight > this.scroller.scrollTop + tall) {
      this.scroller.scrollTop = Math.max(0, top - tall / 2);
    }
  }

  drawRows() {
    const tall = this.rowHeight, first = Math.max(0, Math.floor(this.scroller.scrollTop / tall) - ROWS_AROUND);
    const last = Math.min(this.known, first + 2 * ROWS_AROUND + Math.ceil((this.scroller.clientHeight || 600) / tall));
    const gap = (count) => {
      const cell = make("td", { colspan: this.story.n + 3 });
      cell.style.height = count * tall + "px";
      return make("tr", { class: "gone", "aria-hidden": "true" }, cell);
    };
    const rows = this.rows.slice(first, last).map(([row, index]) => this.row(row, index));
    byId("table").tBodies[0].replaceChildren(...(first ? [gap(first)] : []), ...rows, ...(last < this.known ? [gap(this.known - last)] : []));
  }

  row(row, index) {
    const story = this.story, until = Math.min(this.step, row[ROW.last]);
    const took = new Map(row[ROW.accepted]), kind = row[ROW.kind];
    const element = make("tr", { class: index === this.current ? "current" : "", "data-row": index });
    element.append(make("th", { scope: "row", class: "label", title: row[ROW.label] }, row[ROW.label]));
    const badge = make("span", { class: "kind k-" + (kind in KINDS ? kind : "none") }, kind.replace("_", " ") || "…");
    element.append(make("td", { "data-kind": kind }, badge));
    const objects = this.objects.filter((each) => row[ROW.objects].includes(each));
    for (let server = 0; server < story.n; server++) {
      const isTaken = took.has(server) && took.get(server) <= this.step;
      element.append(this.cell(server, objects, until, () => "", false, isTaken));
    }
    const isOver = row[ROW.ended] >= 0 && row[ROW.ended] <= this.step;
    element.append(make("td", { class: "result" }, isOver ? row[ROW.result] : ""));
    return element;
  }

  cell(server, objects, step, freshness, isDown, isTaken) {
    const story = this.story, changes = objects.map((object) => changeAt(story, server, object, step));
    const classes = ["cell", isTaken ? "took" : "", isDown ? "down" : ""];
    if (changes.some((change) => change && change[CHANGE.claim])) classes.push("claim");
    changes.forEach((change) => classes.push(freshness(change)));
    const element = make("td", { class: classes.filter(Boolean).join(" "), "data-server": server });
    element.dataset.history = changes.map((change) => historyText(story, change)).join(" ");
    if (isTaken) element.dataset.took = "yes";
    objects.forEach((object, place) => {
      const line = make("span", { class: this.tall ? "lines" : "" });
      if (this.tall) line.append(make("span", { class: "object-name" }, story.objects[object].split("/").pop()));
      line.append(...this.historyParts(object, historyText(story, changes[place])));
      element.append(line);
    });
    return element;
  }

  historyParts(object, text) {
    const parts = [], names = text.split(","), shown = names.slice(0, 5);
    shown.forEach((name, place) => {
      const classes = [place ? "" : "first", name.includes("b") ? "b" : ""].filter(Boolean).join(" ");
      parts.push(make("span", { class: classes }, name.replaceAll("'", "′")), place < shown.length - 1 ? "," : "");
    });
    if (names.length > shown.length) parts.push(",…");
    const newest = names.find((name) => !name.includes("b"));
    const value = this.story.madeBy.get(object + "/" + newest)?.[MADE.value];
    if (value) parts.push(make("span", { class: "value" + ("♣♦♥♠".includes(value) ? " suit" : "") }, value));
    return parts;
  }
}
