// The space-time diagram: lanes, arrows, marks. Only what is in view is drawn, so a run may have any length.

const GUTTER = 74, TOP = 30, BOTTOM = 12, UNIT = 15, FUTURE = 0.13;

class Stage {
  constructor(canvas, onPick) {
    this.canvas = canvas;
    this.left = 0; // in units of the story's time line
    this.zoom = 1;
    this.position = 0; // the play head, in units
    this.onPick = onPick;
    this.listen();
  }

  show(story) {
    this.story = story;
    this.end = story.count ? story.xs[story.count - 1] : 0;
    this.left = 0;
    this.measure();
  }

  measure() {
    const story = this.story, lanes = story ? story.lanes.length : 1;
    this.width = this.canvas.clientWidth || 800;
    const tall = document.body.classList.contains("slide") ? 0.5 : 0.42;
    const most = Math.max(220, window.innerHeight * tall);
    this.gap = Math.max(19, Math.min(46, (most - TOP - BOTTOM) / lanes));
    this.height = Math.round(TOP + BOTTOM + this.gap * lanes);
    this.canvas.style.height = this.height + "px";
  }

  get unit() { return UNIT * this.zoom; }
  get span() { return (this.width - GUTTER) / this.unit; }
  x(place) { return GUTTER + (place - this.left) * this.unit; }
  y(lane) { return TOP + this.gap * (lane + 0.5); }

  follow(place) {
    const margin = this.span * 0.28;
    if (place > this.left + this.span - margin) this.left = place - this.span + margin;
    if (place < this.left + this.span * 0.08) this.left = place - this.span * 0.08;
    this.left = Math.max(-0.5, Math.min(this.left, Math.max(-0.5, this.end + 4 - this.span)));
  }

  draw(step, position) {
    if (!this.story) return;
    this.step = step;
    this.position = position;
    this.paint(new CanvasPen(this.canvas, this.width, this.height));
  }

  toSvg() {
    const pen = new SvgPen(this.width, this.height, new CanvasPen(document.createElement("canvas"), 10, 10));
    pen.box(0, 0, this.width, this.height, 0, { fill: colours.card });
    this.paint(pen);
    return pen.toString();
  }

  paint(pen) {
    const story = this.story, { xs } = story;
    const first = Math.max(0, lastAtMost(xs, this.left - 2, (x) => x));
    const last = Math.min(story.count - 1, lastAtMost(xs, this.left + this.span + 2, (x) => x) + 1);
    pen.clip(GUTTER - 8, 0, this.width - GUTTER + 8, this.height);
    this.drawSpans(pen);
    this.drawTimes(pen, first, last);
    this.drawLanes(pen);
    this.drawArrows(pen, first, last);
    this.drawMarks(pen, first, last);
    this.drawHead(pen);
    pen.unclip();
    this.drawNames(pen);
  }

  drawLanes(pen) {
    this.story.lanes.forEach(([, role], lane) => {
      const isServer = role === "server" || role === "liar", y = this.y(lane);
      pen.line(GUTTER - 8, y, this.width, y, { stroke: colours.line, width: isServer ? 1.4 : 1, dash: isServer ? [] : [2, 4] });
    });
    const clients = this.story.lanes.filter(([, role]) => role === "client" || role === "villain").length;
    const y = TOP + this.gap * clients;
    if (clients) pen.line(0, y, this.width, y, { stroke: colours.faint, width: 1 });
  }

  drawNames(pen) {
    const active = this.story.steps[this.step]?.[STEP.lane];
    pen.box(0, 0, GUTTER - 8, this.height, 0, { fill: colours.card });
    this.story.lanes.forEach(([name, role], lane) => {
      const y = this.y(lane), is = lane === active, small = this.gap < 26;
      if (is) pen.box(8, y - 11, GUTTER - 22, 22, 6, { fill: colours.accent });
      const odd = role === "liar" || role === "villain";
      const short = name.length > 6 ? name.slice(0, 5) + "…" : name;
      pen.text(14, y + 4.5, short, { fill: is ? colours.card : odd ? colours.fail : colours.ink, size: small ? 11.5 : 14, weight: 650 });
      if (odd) drawSign(pen, "lie", GUTTER - 20, y, 1);
    });
  }

  drawSpans(pen) {
    for (const [first, last, lane, what] of this.story.spans) {
      const x1 = this.x(this.story.xs[first]), x2 = this.x(this.story.xs[Math.min(last, this.story.count - 1)]);
      if (x2 < GUTTER - 10 || x1 > this.width || lane < 0) continue;
      const y = this.y(lane), seen = this.x(this.position), right = Math.min(x2, seen);
      const alpha = x1 > seen ? FUTURE : 1;
      if (what === "at work") {
        pen.box(x1, y - 3, Math.max(2, x2 - x1), 6, 3, { fill: colours.accent, alpha: 0.1 });
        if (right > x1) pen.box(x1, y - 3, right - x1, 6, 3, { fill: colours.accent, alpha: 0.32 });
        continue;
      }
      const half = this.gap * 0.36;
      pen.box(x1, y - half, Math.max(3, x2 - x1), 2 * half, 4, { fill: colours["fail-soft"], alpha: alpha * 0.85 });
      for (let x = x1; x < x2; x += 9) {
        if (x > GUTTER - 10 && x < this.width) pen.line(x, y + half, Math.min(x + 5, x2), y - half, { stroke: colours.fail, width: 0.7, alpha: alpha * 0.5 });
      }
      if (what !== "down") this.label(pen, Math.max(x1, GUTTER) + 6, y - half + 10, what, colours.fail, alpha, 10.5);
    }
  }

  drawTimes(pen, first, last) {
    let right = -Infinity;
    for (let index = first; index <= last; index++) {
      const x = this.x(this.story.xs[index]);
      if (x < right || x < GUTTER) continue;
      const ms = this.story.steps[index][STEP.at];
      const text = (ms < 10000 ? ms.toFixed(ms < 100 ? 1 : 0) + " ms" : (ms / 1000).toFixed(2) + " s");
      pen.line(x, TOP - 8, x, this.height, { stroke: colours.faint, width: 1 });
      pen.text(x + 3, TOP - 12, text, { fill: colours.muted, size: 11 });
      right = x + Math.max(96, this.width / 9);
    }
  }

  arrowsIn(first, last) {
    const found = new Set();
    for (let bucket = Math.floor(first / BUCKET); bucket <= Math.floor(last / BUCKET); bucket++) {
      for (const arrow of this.story.buckets.get(bucket) || []) found.add(arrow);
    }
    return found;
  }

  ends(arrow) {
    const { xs } = this.story, start = xs[arrow[ARROW.start]];
    const end = arrow[ARROW.end] < 0 ? start + 4 : xs[arrow[ARROW.end]];
    return [start, Math.max(end, start + 0.05)];
  }

  drawArrows(pen, first, last) {
    const strong = [], plain = this.unit < 4;
    for (const index of this.arrowsIn(first, last)) {
      const arrow = this.story.arrows[index];
      if (arrow[ARROW.start] === this.step || arrow[ARROW.end] === this.step) strong.push(arrow);
      else this.drawOne(pen, arrow, false, plain);
    }
    for (const arrow of strong) this.drawOne(pen, arrow, true, plain);
  }

  drawOne(pen, arrow, strong, plain) {
    const [start, end] = this.ends(arrow);
    const share = Math.max(0, Math.min(1, (this.position - start) / (end - start)));
    const place = [this.x(start), this.y(arrow[ARROW.from]), this.x(end), this.y(arrow[ARROW.to])];
    const isCalm = arrow[ARROW.what] === "reply" && !strong;
    if (share < 1) drawArrow(pen, ...place, arrow[ARROW.what], arrow[ARROW.fate], 1, { alpha: FUTURE, plain });
    if (share > 0) drawArrow(pen, ...place, arrow[ARROW.what], arrow[ARROW.fate], share, { alpha: isCalm ? 0.75 : 1, strong, plain });
    if (share > 0 && share < 1) {
      pen.circle(place[0] + (place[2] - place[0]) * share, place[1] + (place[3] - place[1]) * share, 3.2, { fill: colours.accent });
    }
  }

  drawMarks(pen, first, last) {
    const { marks } = this.story, right = new Map();
    const from = lastAtMost(marks, first - 1, (mark) => mark[MARK.step]) + 1;
    for (let index = from; index < marks.length && marks[index][MARK.step] <= last; index++) {
      const [step, lane, what, text] = marks[index];
      const x = this.x(this.story.xs[step]), alpha = step <= this.step ? 1 : FUTURE;
      if (lane < 0) this.drawWide(pen, x, what, text, alpha);
      else this.drawMark(pen, x, lane, what, text, alpha, right);
    }
  }

  drawWide(pen, x, what, text, alpha) {
    const colour = what === "violation" ? colours.fail : colours.accept;
    pen.line(x, TOP - 6, x, this.height, { stroke: colour, width: 2, dash: [6, 4], alpha });
    this.label(pen, x + 5, this.height - 6, text, colour, alpha, 12);
  }

  drawMark(pen, x, lane, what, text, alpha, right) {
    const y = this.y(lane), colour = colours[{ accept: "accept", copy: "copy", barrier: "barrier", end: "accept", restart: "accept", call: "ink" }[what] || "fail"];
    if (what === "call" || what === "repair") {
      const kind = what === "repair" ? KINDS[text] || "fail" : "ink";
      this.pill(pen, x, y, text, kind, alpha, right, lane);
      return;
    }
    if (this.unit > 3 || what !== "accept") drawSign(pen, what, x, y, alpha);
    if (!text || what === "end" || what === "failed" || this.unit < 7 || x < (right.get(lane) ?? -1)) return;
    this.label(pen, x + 8, y - 6, text, colour, alpha, 12);
    right.set(lane, x + 10 + pen.measure(text, 12, 600, false));
  }

  pill(pen, x, y, text, kind, alpha, right, lane) {
    if (x < (right.get(lane) ?? -1)) return;
    const short = text.replace("_", " ").slice(0, 26), size = 11.5, width = pen.measure(short, size, 650, false) + 12;
    const lift = Math.min(this.gap * 0.5, 17);
    pen.box(x - 4, y - lift - 9, width, 17, 5, { fill: kind === "ink" ? colours.faint : colours[kind + "-soft"], stroke: colours[kind], width: 1, alpha });
    pen.text(x + 2, y - lift + 3.6, short, { fill: colours[kind], size, weight: 650, alpha });
    pen.circle(x, y, 3.4, { fill: colours[kind], alpha });
    right.set(lane, x + width + 2);
  }

  label(pen, x, y, text, colour, alpha, size) {
    pen.text(x, y, text, { fill: colour, size, weight: 600, alpha });
  }

  drawHead(pen) {
    const x = this.x(this.position);
    pen.line(x, TOP - 6, x, this.height, { stroke: colours.accent, width: 1.5, alpha: 0.8 });
    pen.shape([[x - 6, TOP - 9], [x + 6, TOP - 9], [x, TOP - 1]], { fill: colours.accent });
  }

  // --- hands ------------------------------------------------------------------------------------------------------

  listen() {
    let from = null, moved = 0;
    this.canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, this.left]; moved = 0; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      moved = Math.max(moved, Math.abs(event.clientX - from[0]));
      this.left = from[1] - (event.clientX - from[0]) / this.unit;
      this.draw(this.step, this.position);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (from && moved < 4) this.onPick(this.nearest(event));
      from = null;
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      if (event.ctrlKey) this.zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX);
      else this.left += (event.deltaX || event.deltaY) / this.unit;
      this.draw(this.step, this.position);
    }, { passive: false });
  }

  zoomBy(factor, at) {
    const place = this.left + (at - GUTTER) / this.unit;
    this.zoom = Math.max(0.06, Math.min(4, this.zoom * factor));
    this.left = place - (at - GUTTER) / this.unit;
    this.onZoom?.();
  }

  nearest(event) {
    const place = this.left + (event.offsetX - GUTTER) / this.unit;
    const lane = Math.floor((event.offsetY - TOP) / this.gap), { steps, xs } = this.story;
    const middle = Math.max(0, lastAtMost(xs, place, (x) => x));
    let best = middle, distance = Infinity;
    for (let index = Math.max(0, middle - 40); index < Math.min(steps.length, middle + 40); index++) {
      const apart = Math.abs(xs[index] - place) + (steps[index][STEP.lane] === lane ? 0 : 2.5);
      if (apart < distance) { distance = apart; best = index; }
    }
    return best;
  }
}

// The strip under the slider: where candidates are accepted, repairs asked for, and things fail.
function drawStrip(canvas, story) {
  const width = canvas.clientWidth || 300, height = canvas.clientHeight || 34;
  const pen = new CanvasPen(canvas, width, height);
  pen.box(0, 0, width, height, 6, { fill: colours.faint });
  const last = Math.max(1, story.count - 1), place = (step) => 2 + ((width - 4) * step) / last;
  const seen = [new Set(), new Set(), new Set()];
  story.steps.forEach((step, index) => {
    const x = Math.round(place(index)), flags = step[STEP.flags];
    [[ACCEPTS, "accept", 20, 9], [REPAIRS, "barrier", 12, 6], [FAILS, "fail", 3, 7]].forEach(([flag, colour, y, tall], which) => {
      if (flags & flag && !seen[which].has(x)) {
        seen[which].add(x);
        pen.line(x, y, x, y + tall, { stroke: colours[colour], width: 1, alpha: 0.8 });
      }
    });
  });
  for (const [step] of story.notes) pen.circle(place(step), height - 4, 2.6, { fill: colours.accent });
}

function drawLegend(canvas) {
  const width = canvas.clientWidth || 600, pen = new CanvasPen(canvas, width, 236);
  const arrows = [["request", "arrived", "request"], ["reply", "arrived", "reply"], ["refusal", "arrived", "refusal"],
    ["sync", "arrived", "between servers"], ["announcement", "arrived", "announcement"], ["request", "lost", "lost"], ["request", "late", "late"], ["request", "repeated", "repeated"]];
  arrows.forEach(([what, fate, text], index) => {
    const y = 16 + index * 27;
    drawArrow(pen, 6, y, 78, y, what, fate, 1, { alpha: 1 });
    pen.text(90, y + 4, text, { fill: colours.ink, size: 13 });
  });
  const signs = [["accept", "accepts a version"], ["barrier", "accepts a barrier"], ["copy", "accepts a copy"], ["refuse", "refuses"],
    ["cull", "leaves a history out"], ["exclude", "leaves a liar out"], ["crash", "crashes or dies"], ["restart", "starts again"],
    ["lie", "lies"], ["end", "a call is done"], ["failed", "a call fails"], ["fault", "a fault"]];
  signs.forEach(([what, text], index) => {
    const x = width * 0.36 + (index % 2) * width * 0.33, y = 16 + Math.floor(index / 2) * 31;
    drawSign(pen, what, x, y, 1);
    pen.text(x + 16, y + 4, text, { fill: colours.ink, size: 13 });
  });
}
