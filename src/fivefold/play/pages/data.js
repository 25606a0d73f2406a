// The data of a page: stories are JSON in the page, plain or deflated. Their records are arrays; here are their fields.

const STEP = { x: 0, at: 1, lane: 2, flags: 3, text: 4, why: 5, row: 6, content: 7, rule: 8 };
const ARROW = { start: 0, from: 1, end: 2, to: 3, what: 4, fate: 5, content: 6 };
const MARK = { step: 0, lane: 1, what: 2, text: 3 };
const SPAN = { first: 0, last: 1, lane: 2, what: 3 };
const ROW = { label: 0, kind: 1, lane: 2, first: 3, last: 4, objects: 5, accepted: 6, result: 7, ended: 8 };
const CHANGE = { step: 0, server: 1, object: 2, history: 3, claim: 4 };
const MADE = { object: 0, name: 1, kind: 2, client: 3, on: 4, value: 5 };
const WHY = { lane: 0, kind: 1, target: 2, text: 3, rule: 4, sets: 5, counts: 6, candidate: 7, culled: 8 };
const ACCEPTS = 1, FAILS = 2, REPAIRS = 4;
const BUCKET = 64; // steps of one bucket of arrows

const byId = (id) => document.getElementById(id);

async function readStory(element) {
  if (element.type === "application/json") return JSON.parse(element.textContent);
  const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// What the diagram and the panels look up all the time.
function indexed(story) {
  const count = story.steps.length;
  const xs = new Float64Array(count);
  story.steps.forEach((step, index) => { xs[index] = step[STEP.x]; });
  const buckets = new Map();
  story.arrows.forEach((arrow, index) => {
    const last = arrow[ARROW.end] < 0 ? arrow[ARROW.start] : arrow[ARROW.end];
    for (let each = Math.floor(arrow[ARROW.start] / BUCKET); each <= Math.floor(last / BUCKET); each++) {
      if (!buckets.has(each)) buckets.set(each, []);
      buckets.get(each).push(index);
    }
  });
  const changes = new Map();
  for (const change of story.changes) {
    const key = change[CHANGE.server] + "/" + change[CHANGE.object];
    if (!changes.has(key)) changes.set(key, []);
    changes.get(key).push(change);
  }
  const made = new Map();
  for (const each of story.made) made.set(each[MADE.object] + "/" + each[MADE.name], each);
  return { ...story, count, xs, buckets, changeLists: changes, madeBy: made };
}

// The last place of an ordered list whose key is at most a value; -1 if there is none.
function lastAtMost(list, value, key) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// A server's history of an object as it was at a step.
function changeAt(story, server, object, step) {
  const list = story.changeLists.get(server + "/" + object);
  if (!list) return null;
  const place = lastAtMost(list, step, (change) => change[CHANGE.step]);
  return place < 0 ? null : list[place];
}

const historyText = (story, change) => story.histories[change ? change[CHANGE.history] : 0];

// Elements: text is only ever set as text.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") element.className = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
