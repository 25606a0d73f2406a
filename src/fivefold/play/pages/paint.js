// Two pens with the same few strokes: one paints on a canvas, the other writes SVG. Drawing code knows only pens.

class CanvasPen {
  constructor(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    this.context = canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.clearRect(0, 0, width, height);
  }
  clip(x, y, width, height) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
  }
  unclip() { this.context.restore(); }
  style({ stroke, fill, width = 1, dash = [], alpha = 1 }) {
    const context = this.context;
    context.globalAlpha = alpha;
    context.lineWidth = width;
    context.setLineDash(dash);
    if (stroke) context.strokeStyle = stroke;
    if (fill) context.fillStyle = fill;
    return context;
  }
  line(x1, y1, x2, y2, how) {
    const context = this.style(how);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x2, y2);
    context.stroke();
  }
  shape(points, how) {
    const context = this.style(how);
    context.beginPath();
    points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    if (how.fill) context.fill();
    if (how.stroke) context.stroke();
  }
  circle(x, y, radius, how) {
    const context = this.style(how);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    if (how.fill) context.fill();
    if (how.stroke) context.stroke();
  }
  box(x, y, width, height, radius, how) {
    const context = this.style(how);
    context.beginPath();
    context.roundRect(x, y, width, height, radius);
    if (how.fill) context.fill();
    if (how.stroke) context.stroke();
  }
  text(x, y, text, { fill, size = 12, weight = 400, anchor = "start", alpha = 1, mono = false }) {
    const context = this.style({ fill, alpha });
    context.font = `${weight} ${size}px ${fontOf(mono)}`;
    context.textAlign = anchor === "middle" ? "center" : anchor;
    context.textBaseline = "alphabetic";
    context.fillText(text, x, y);
  }
  measure(text, size, weight, mono) {
    this.context.font = `${weight || 400} ${size}px ${fontOf(mono)}`;
    return this.context.measureText(text).width;
  }
}

class SvgPen {
  constructor(width, height, measurer) {
    this.width = width;
    this.height = height;
    this.parts = [];
    this.measurer = measurer;
  }
  how({ stroke, fill, width = 1, dash = [], alpha = 1 }) {
    let text = ` fill="${fill || "none"}"`;
    if (stroke) text += ` stroke="${stroke}" stroke-width="${width}"`;
    if (dash.length) text += ` stroke-dasharray="${dash.join(" ")}"`;
    if (alpha !== 1) text += ` opacity="${alpha}"`;
    return text;
  }
  clip(x, y, width, height) {
    this.parts.push(`<clipPath id="lanes"><rect x="${x}" y="${y}" width="${width}" height="${height}"/></clipPath>`);
    this.parts.push(`<g clip-path="url(#lanes)">`);
  }
  unclip() { this.parts.push("</g>"); }
  line(x1, y1, x2, y2, how) {
    this.parts.push(`<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}"${this.how(how)}/>`);
  }
  shape(points, how) {
    const text = points.map(([x, y]) => `${round(x)},${round(y)}`).join(" ");
    this.parts.push(`<polygon points="${text}"${this.how(how)}/>`);
  }
  circle(x, y, radius, how) {
    this.parts.push(`<circle cx="${round(x)}" cy="${round(y)}" r="${radius}"${this.how(how)}/>`);
  }
  box(x, y, width, height, radius, how) {
    const place = `x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
    this.parts.push(`<rect ${place} rx="${radius}"${this.how(how)}/>`);
  }
  text(x, y, text, { fill, size = 12, weight = 400, anchor = "start", alpha = 1, mono = false }) {
    const family = escaped(fontOf(mono));
    const font = `font-family="${family}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}"`;
    this.parts.push(`<text x="${round(x)}" y="${round(y)}" ${font} fill="${fill}" opacity="${alpha}">${escaped(text)}</text>`);
  }
  measure(text, size, weight, mono) { return this.measurer.measure(text, size, weight, mono); }
  toString() {
    const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${this.width} ${this.height}" width="${this.width}" height="${this.height}">`;
    return head + this.parts.join("") + "</svg>\n";
  }
}

const round = (number) => Math.round(number * 10) / 10;
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
const fontOf = (mono) => colours[mono ? "mono" : "sans"];

let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "card", "ink", "muted", "line", "faint", "accent", "accept", "accept-soft", "barrier",
    "barrier-soft", "copy", "copy-soft", "inline", "inline-soft", "fail", "fail-soft", "sans", "mono"]) {
    colours[name] = style.getPropertyValue("--" + name).trim();
  }
}

// --- signs: each differs in shape, not in colour alone ------------------------------------------------------------

const KINDS = { METHOD: "accept", INLINE_METHOD: "inline", INLINE_BARRIER: "inline", BARRIER: "barrier", COPY: "copy" };

function drawSign(pen, what, x, y, alpha) {
  const c = colours;
  switch (what) {
    case "accept": pen.circle(x, y, 5, { fill: c.accept, stroke: c.card, width: 1.5, alpha }); break;
    case "copy": pen.shape([[x, y - 6.5], [x + 6.5, y], [x, y + 6.5], [x - 6.5, y]], { fill: c.copy, stroke: c.card, width: 1.5, alpha }); break;
    case "barrier": pen.box(x - 3.5, y - 8, 7, 16, 1.5, { fill: c.barrier, stroke: c.card, width: 1.5, alpha }); break;
    case "refuse":
      pen.circle(x, y, 4, { fill: c.card, stroke: c.fail, width: 1.6, alpha });
      pen.line(x - 2.6, y + 2.6, x + 2.6, y - 2.6, { stroke: c.fail, width: 1.4, alpha });
      break;
    case "crash": case "death":
      pen.circle(x, y, 8, { fill: c["fail-soft"], stroke: c.fail, width: 1.5, alpha });
      pen.line(x - 3.6, y - 3.6, x + 3.6, y + 3.6, { stroke: c.fail, width: 2, alpha });
      pen.line(x - 3.6, y + 3.6, x + 3.6, y - 3.6, { stroke: c.fail, width: 2, alpha });
      break;
    case "restart": pen.shape([[x - 4, y - 6], [x + 6, y], [x - 4, y + 6]], { fill: c.accept, stroke: c.card, width: 1.5, alpha }); break;
    case "lie": pen.shape(star(x, y, 8, 3.6), { fill: c.fail, stroke: c.card, width: 1, alpha }); break;
    case "cull":
      pen.box(x - 6, y - 6, 12, 12, 2, { fill: c.card, stroke: c.fail, width: 1.6, alpha });
      pen.line(x - 4, y, x + 4, y, { stroke: c.fail, width: 2, alpha });
      break;
    case "exclude":
      pen.circle(x, y, 7, { fill: c["fail-soft"], stroke: c.fail, width: 2, alpha });
      pen.line(x - 4, y, x + 4, y, { stroke: c.fail, width: 2.4, alpha });
      break;
    case "end": pen.circle(x, y, 6, { fill: c.card, stroke: c.accept, width: 2, alpha });
      pen.circle(x, y, 2.4, { fill: c.accept, alpha });
      break;
    case "failed": pen.box(x - 5, y - 5, 10, 10, 2, { fill: c.card, stroke: c.fail, width: 2, alpha }); break;
    case "fault": pen.shape([[x, y - 7], [x + 7, y + 5.5], [x - 7, y + 5.5]], { fill: c["fail-soft"], stroke: c.fail, width: 1.5, alpha }); break;
    default: pen.circle(x, y, 3, { fill: c.ink, alpha });
  }
}

function star(x, y, outer, inner) {
  const points = [];
  for (let corner = 0; corner < 12; corner++) {
    const radius = corner % 2 ? inner : outer, angle = (corner * Math.PI) / 6;
    points.push([x + radius * Math.sin(angle), y - radius * Math.cos(angle)]);
  }
  return points;
}

const LOOKS = {
  request: { colour: "ink", width: 1.5, dash: [], head: "full" },
  reply: { colour: "muted", width: 1, dash: [], head: "full" },
  refusal: { colour: "fail", width: 1.1, dash: [5, 3], head: "open" },
  sync: { colour: "inline", width: 1.3, dash: [7, 3, 1.5, 3], head: "full" },
  announcement: { colour: "accent", width: 1.5, dash: [1.5, 3], head: "full" },
};

// An arrow up to a share of its way; what is lost ends on the way, with a cross.
function drawArrow(pen, x1, y1, x2, y2, what, fate, share, how) {
  const look = LOOKS[what] || LOOKS.request;
  const stroke = fate === "lost" ? colours.fail : colours[look.colour];
  const whole = fate === "lost" ? 0.62 : 1;
  const part = Math.min(share, whole);
  const x = x1 + (x2 - x1) * part, y = y1 + (y2 - y1) * part;
  const dash = fate === "late" ? [11, 5] : fate === "lost" ? [4, 4] : look.dash;
  const width = look.width * (how.strong ? 1.9 : 1);
  if (fate === "repeated") {
    pen.line(x1, y1 - 1.5, x, y - 1.5, { stroke, width: width * 0.7, dash, alpha: how.alpha });
    pen.line(x1, y1 + 1.5, x, y + 1.5, { stroke, width: width * 0.7, dash, alpha: how.alpha });
  } else {
    pen.line(x1, y1, x, y, { stroke, width, dash, alpha: how.alpha });
  }
  if (share < whole || how.plain) return;
  if (fate === "lost") {
    pen.line(x - 4, y - 4, x + 4, y + 4, { stroke, width: 1.8, alpha: how.alpha });
    pen.line(x - 4, y + 4, x + 4, y - 4, { stroke, width: 1.8, alpha: how.alpha });
    return;
  }
  const angle = Math.atan2(y2 - y1, x2 - x1), size = how.strong ? 9 : 7;
  const corner = (turn) => [x - size * Math.cos(angle + turn), y - size * Math.sin(angle + turn)];
  if (look.head === "open") {
    pen.line(...corner(0.45), x, y, { stroke, width, alpha: how.alpha });
    pen.line(...corner(-0.45), x, y, { stroke, width, alpha: how.alpha });
  } else {
    pen.shape([[x, y], corner(0.36), corner(-0.36)], { fill: stroke, alpha: how.alpha });
  }
}
