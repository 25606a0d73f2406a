// The player: where we are, how we move, and what keys and links do.

const PACE = 7; // units of the time line a second at speed 1

class Player {
  constructor() {
    this.index = JSON.parse(byId("index").textContent);
    this.panels = new Panels(JSON.parse(byId("rules-data").textContent));
    this.stage = new Stage(byId("canvas"), (step) => { this.pause(); this.go(step); });
    this.stage.onZoom = () => { byId("zoom").value = Math.log2(this.stage.zoom); };
    this.step = 0;
    this.position = 0;
    this.isPlaying = false;
    this.until = Infinity;
    this.speed = 1;
    this.wire();
  }

  async start() {
    const select = byId("scenario");
    for (const [group, names] of this.groups()) {
      const box = make("optgroup", { label: group });
      names.forEach((each) => box.append(make("option", { value: each.name }, each.title)));
      select.append(box);
    }
    byId("picker").hidden = this.index.length < 2;
    await this.open(this.wanted().name, this.wanted().step);
  }

  groups() {
    const groups = new Map();
    for (const each of this.index) {
      if (!groups.has(each.group)) groups.set(each.group, []);
      groups.get(each.group).push(each);
    }
    return groups;
  }

  // What the address asks for: `#step=17`, `#play=paper&step=17`.
  wanted() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const name = this.index.some((each) => each.name === asked.get("play")) ? asked.get("play") : this.name || this.index[0].name;
    const step = asked.get("step");
    return { name, step: step === "last" ? Infinity : Math.max(0, Number.parseInt(step || "0", 10) || 0) };
  }

  async open(name, step) {
    this.pause();
    if (name !== this.name) {
      const place = this.index.findIndex((each) => each.name === name);
      this.story = indexed(await readStory(byId("story-" + place)));
      this.name = name;
      byId("scenario").value = name;
      document.title = `${this.story.title} · fivefold play`;
      this.panels.show(this.story);
      this.stage.show(this.story);
      byId("scrub").max = Math.max(0, this.story.count - 1);
      drawStrip(byId("strip"), this.story);
    }
    this.go(step);
    document.documentElement.dataset.ready = name;
  }

  // --- moving -----------------------------------------------------------------------------------------------------

  go(step) {
    this.step = Math.max(0, Math.min(step, this.story.count - 1));
    this.position = this.story.count ? this.story.xs[this.step] : 0;
    this.stage.follow(this.position);
    this.refresh();
    this.note();
  }

  refresh() {
    const story = this.story, at = story.steps[this.step]?.[STEP.at] ?? 0;
    this.stage.draw(this.step, this.position);
    this.panels.update(this.step);
    byId("scrub").value = this.step;
    byId("scrub").setAttribute("aria-valuetext", `step ${this.step} of ${story.count - 1}`);
    byId("link").textContent = `${this.step} / ${Math.max(0, story.count - 1)}`;
    byId("link").href = this.address();
    byId("clock").textContent = at < 10000 ? at.toFixed(2) + " ms" : (at / 1000).toFixed(3) + " s";
    byId("back").disabled = byId("first").disabled = this.step === 0;
    byId("forward").disabled = byId("last").disabled = this.step >= story.count - 1;
    document.documentElement.dataset.step = this.step;
  }

  address() {
    return this.index.length < 2 ? `#step=${this.step}` : `#play=${encodeURIComponent(this.name)}&step=${this.step}`;
  }

  note() {
    try { history.replaceState(null, "", this.address()); } catch { /* some viewers forbid it: links still work */ }
  }

  play(until = Infinity) {
    if (this.step >= this.story.count - 1) this.go(0);
    this.until = until;
    this.isPlaying = true;
    this.before = performance.now();
    this.showPlaying();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.showPlaying();
    this.note();
  }

  showPlaying() {
    byId("play").textContent = this.isPlaying ? "⏸\uFE0E" : "▶\uFE0E";
    byId("play").setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
    byId("sentence").setAttribute("aria-live", this.isPlaying ? "off" : "polite");
    document.documentElement.dataset.playing = this.isPlaying;
  }

  tick(now) {
    if (!this.isPlaying) return;
    const { xs, count } = this.story;
    this.position += (Math.min(now - this.before, 100) / 1000) * PACE * this.speed;
    this.before = now;
    const stop = Math.min(this.until, count - 1);
    if (this.position >= xs[stop]) {
      this.go(stop);
      this.pause();
      return;
    }
    this.step = Math.max(0, lastAtMost(xs, this.position, (x) => x));
    this.stage.follow(this.position);
    this.refresh();
    requestAnimationFrame((then) => this.tick(then));
  }

  jump(flag, by) {
    this.pause();
    const { steps } = this.story;
    for (let step = this.step + by; step >= 0 && step < steps.length; step += by) {
      if (steps[step][STEP.flags] & flag) return this.go(step);
    }
    return undefined;
  }

  nextText() {
    const next = this.story.notes.find(([step]) => step > this.step);
    this.play(next ? next[0] : Infinity);
  }

  previousText() {
    this.pause();
    const before = this.story.notes.filter(([step]) => step < this.step);
    this.go(before.length ? before[before.length - 1][0] : 0);
  }

  // --- hands ------------------------------------------------------------------------------------------------------

  wire() {
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("first", () => { this.pause(); this.go(0); });
    on("last", () => { this.pause(); this.go(Infinity); });
    on("back", () => { this.pause(); this.go(this.step - 1); });
    on("forward", () => { this.pause(); this.go(this.step + 1); });
    on("play", () => (this.isPlaying ? this.pause() : this.play()));
    on("text", () => this.nextText());
    on("accepted", () => this.jump(ACCEPTS, 1));
    on("failure", () => this.jump(FAILS, 1));
    on("repair", () => this.jump(REPAIRS, 1));
    on("theme", () => this.setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    on("help", () => { byId("help-box").showModal(); drawLegend(byId("legend")); });
    on("export", () => this.save());
    byId("scrub").addEventListener("input", (event) => { this.pause(); this.go(Number(event.target.value)); });
    byId("speed").addEventListener("input", (event) => { this.speed = 2 ** Number(event.target.value); });
    byId("zoom").addEventListener("input", (event) => this.zoomTo(2 ** Number(event.target.value)));
    byId("scenario").addEventListener("change", (event) => this.open(event.target.value, 0));
    window.addEventListener("hashchange", () => { const { name, step } = this.wanted(); this.open(name, step); });
    window.addEventListener("resize", () => this.relayout());
    document.addEventListener("keydown", (event) => this.key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.setTheme());
    this.setTheme();
  }

  key(event) {
    const target = event.target, isField = target.matches("select, input[type=text], textarea") || target.closest("dialog");
    if (event.ctrlKey || event.altKey || event.metaKey || isField) return;
    if (target.matches("input[type=range]") && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    if (event.key === " " && target.matches("button, summary, a")) return;
    if (/^(Home|End|Page)/.test(event.key) && target.closest("#scroller")) return;
    const by = event.shiftKey ? -1 : 1;
    const keys = {
      " ": () => byId("play").click(), arrowright: () => byId("forward").click(), arrowleft: () => byId("back").click(),
      home: () => byId("first").click(), end: () => byId("last").click(), n: () => this.nextText(), p: () => this.previousText(),
      a: () => this.jump(ACCEPTS, by), f: () => this.jump(FAILS, by), r: () => this.jump(REPAIRS, by),
      d: () => byId("theme").click(), s: () => this.slide(), "?": () => byId("help").click(),
      "+": () => this.zoomTo(this.stage.zoom * 1.2), "=": () => this.zoomTo(this.stage.zoom * 1.2), "-": () => this.zoomTo(this.stage.zoom / 1.2),
      "[": () => this.setSpeed(-0.5), "]": () => this.setSpeed(0.5),
    };
    const act = keys[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  }

  setSpeed(by) {
    byId("speed").value = Number(byId("speed").value) + by;
    this.speed = 2 ** Number(byId("speed").value);
  }

  zoomTo(zoom) {
    this.stage.zoomBy(zoom / this.stage.zoom, this.stage.x(this.position));
    this.stage.draw(this.step, this.position);
  }

  slide() {
    document.body.classList.toggle("slide");
    this.relayout();
  }

  relayout() {
    this.stage.measure();
    this.stage.follow(this.position);
    this.stage.draw(this.step, this.position);
    drawStrip(byId("strip"), this.story);
  }

  setTheme(chosen) {
    const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    byId("theme").textContent = isDark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-pressed", isDark);
    readColours();
    if (this.story) this.relayout();
  }

  save() {
    const link = make("a", { href: URL.createObjectURL(new Blob([this.stage.toSvg()], { type: "image/svg+xml" })), download: `${this.name}-${this.step}.svg` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

const player = new Player();
player.start();
