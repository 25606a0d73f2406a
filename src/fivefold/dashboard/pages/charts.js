"use strict";
// Small line charts, drawn as SVG: themed by the page's own style, and told to screen readers in words.

const SVG = "http://www.w3.org/2000/svg";
const SPAN_MIN_S = 60, GAP_FACTOR = 3.5, MARGIN = { top: 6, right: 4, bottom: 17, left: 44 };

const drawn = (name, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text) element.textContent = text;
  return element;
};

/** The least of 1, 2, 5, 10 … that is not below a value. */
const nice = (value) => {
  const power = 10 ** Math.floor(Math.log10(value)), part = value / power;
  return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10) * power;
};

const agoText = (seconds) => (seconds < 1 ? "now" : seconds < 90 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`);

/** One chart: a title, a number and a line for each series, and the time below. */
class Chart {
  constructor(parent, { title, unit, series, format, floor }) {
    Object.assign(this, { title, unit, series, format, floor, points: [], every: 2, at: null });
    const figure = parent.appendChild(document.createElement("figure"));
    figure.className = "chart";
    const caption = figure.appendChild(document.createElement("figcaption"));
    const heading = caption.appendChild(document.createElement("h3"));
    heading.textContent = `${title} `;
    heading.appendChild(document.createElement("small")).textContent = unit;
    const legend = figure.appendChild(document.createElement("div"));
    legend.className = "legend";
    this.values = series.map(({ label }, index) => {
      const entry = legend.appendChild(document.createElement("div"));
      const value = entry.appendChild(document.createElement("span"));
      value.className = "value";
      const name = entry.appendChild(document.createElement("span"));
      const sample = name.appendChild(drawn("svg", { "aria-hidden": "true" }));
      sample.append(drawn("path", { class: `line s${index}`, d: "M0 6H20" }));
      name.append(label);
      return value;
    });
    this.plot = figure.appendChild(drawn("svg", { class: "plot", role: "img", tabindex: "0" }));
    this.tip = figure.appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.figure = figure;
    this.plot.addEventListener("pointermove", (event) => this.point(event.clientX - this.plot.getBoundingClientRect().left));
    this.plot.addEventListener("pointerleave", () => this.rest());
    this.plot.addEventListener("blur", () => this.rest());
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  update(points, every) {
    this.points = points;
    this.every = every;
    const last = points[points.length - 1];
    this.series.forEach(({ key, label }, index) => { this.values[index].textContent = last ? this.format(last[key]) : "–"; });
    this.plot.setAttribute("aria-label", this.words());
    this.draw();
  }

  words() {
    if (!this.points.length) return `${this.title}: nothing was seen yet`;
    const parts = this.series.map(({ key, label }) => {
      const known = this.points.map((point) => point[key]).filter((value) => value !== null);
      if (!known.length) return `${label}: none`;
      const last = this.points[this.points.length - 1][key];
      return `${label} ${this.format(last)}, from ${this.format(Math.min(...known))} to ${this.format(Math.max(...known))}`;
    });
    const since = this.points[this.points.length - 1].at - this.points[0].at;
    return `${this.title}, ${this.unit}, over ${agoText(since).replace(" ago", "").replace("now", "a moment")}: ${parts.join("; ")}. Arrow keys go through it.`;
  }

  draw() {
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!width || !height) return;
    const { left, right, top, bottom } = MARGIN, points = this.points;
    const end = points.length ? points[points.length - 1].at : Date.now() / 1000;
    const begin = Math.min(points.length ? points[0].at : end, end - SPAN_MIN_S);
    const greatest = Math.max(this.floor, ...points.flatMap((point) => this.series.map(({ key }) => point[key] ?? 0)));
    const ceiling = nice(greatest);
    this.x = (at) => left + ((at - begin) / (end - begin)) * (width - left - right);
    this.y = (value) => height - bottom - (value / ceiling) * (height - top - bottom);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.y(share * ceiling)) + 0.5;
      parts.push(drawn("line", { class: share ? "grid" : "grid base", x1: left, x2: width - right, y1: y, y2: y }));
      parts.push(drawn("text", { x: left - 6, y: y + 3.5, "text-anchor": "end" }, this.format(share * ceiling)));
    }
    parts.push(drawn("text", { x: left, y: height - 3 }, agoText(end - begin)));
    parts.push(drawn("text", { x: width - right, y: height - 3, "text-anchor": "end" }, "now"));
    this.series.forEach(({ key }, index) => {
      const runs = this.runs(key);
      if (!index) for (const run of runs) parts.push(drawn("path", { class: "area", d: `${this.path(run, key)}V${this.y(0)}H${this.x(run[0].at)}Z` }));
      parts.push(drawn("path", { class: `line s${index}`, d: runs.map((run) => this.path(run, key)).join("") }));
    });
    this.plot.replaceChildren(...parts);
    if (this.at !== null) this.mark();
  }

  /** Stretches without a gap: nothing is drawn over a time of which nothing is known. */
  runs(key) {
    const runs = [];
    let run = [], before = null;
    for (const point of this.points) {
      if (point[key] === null || (before && point.at - before.at > GAP_FACTOR * this.every)) {
        if (run.length) runs.push(run);
        run = [];
      }
      if (point[key] !== null) run.push(point);
      before = point;
    }
    return run.length ? [...runs, run] : runs;
  }

  path(run, key) {
    const places = run.map((point) => `${this.x(point.at).toFixed(1)} ${this.y(point[key]).toFixed(1)}`);
    return `M${places[0]}${places.length > 1 ? `L${places.slice(1).join("L")}` : "h.1"}`;
  }

  point(x) {
    if (!this.points.length || !this.x) return;
    let nearest = 0;
    this.points.forEach((point, index) => {
      if (Math.abs(this.x(point.at) - x) < Math.abs(this.x(this.points[nearest].at) - x)) nearest = index;
    });
    this.at = this.points[nearest].at;
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -15, PageDown: 15, Home: -1e9, End: 1e9 }[event.key];
    if (event.key === "Escape") this.rest();
    if (!step || !this.points.length) return;
    event.preventDefault();
    const last = this.points.length - 1;
    const now = this.at === null ? last + (step < 0 ? 1 : 0) : this.points.findIndex((point) => point.at >= this.at);
    this.at = this.points[Math.max(0, Math.min(last, (now < 0 ? last : now) + step))].at;
    this.draw();
    say(`${this.title}, ${this.tip.textContent.replaceAll("\n", ", ")}`);
  }

  mark() {
    const point = this.points.find((each) => each.at >= this.at);
    if (!point) return this.rest();
    const x = this.x(point.at);
    this.plot.append(drawn("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: this.y(0) }));
    this.series.forEach(({ key }, index) => {
      if (point[key] !== null) this.plot.append(drawn("circle", { class: `dot${index}`, cx: x, cy: this.y(point[key]), r: 3.5 }));
    });
    const time = new Date(1000 * point.at).toLocaleTimeString();
    this.tip.textContent = [time, ...this.series.map(({ key, label }) => `${label} ${this.format(point[key])}`)].join("\n");
    this.tip.hidden = false;
    const box = this.figure.getBoundingClientRect(), plot = this.plot.getBoundingClientRect();
    const wanted = plot.left - box.left + x + 10;
    this.tip.style.left = `${wanted + this.tip.offsetWidth > box.width ? wanted - this.tip.offsetWidth - 20 : wanted}px`;
    this.tip.style.top = `${plot.top - box.top + 4}px`;
    return undefined;
  }

  rest() {
    this.at = null;
    this.tip.hidden = true;
    this.draw();
  }
}
