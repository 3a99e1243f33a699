// The stage: an input map, the operators' outputs beside it, and one cell that is shown in all of them.
// Everything is drawn in the browser. The server is told which cell is kept: after a click or Pause at once, after
// keys, steps and scrubbing when they have come to rest.

const stages = new WeakMap(); // component root -> its state, because this module runs again at each data change

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".stage");
  let stage = stages.get(root);
  if (!stage) {
    stage = { root, cell: null, pinned: null, told: null, sent: null, timer: null, cards: [] };
    stages.set(root, stage);
    buildTransport(stage);
    stage.observer = new ResizeObserver(() => layout(stage));
    stage.observer.observe(root);
  }
  stage.pin = (cell) => pin(stage, cell, setTriggerValue);
  receive(stage, data);
  return () => {
    clearInterval(stage.timer);
    clearTimeout(stage.settling);
    stage.observer.disconnect();
    stages.delete(root);
  };
}

function receive(stage, data) {
  stage.data = data;
  stage.maps = [readMap({ ...data.input, title: "Input", note: data.hint, range: data.range, ramp: data.ramp, space: "input", role: "input" })];
  const panels = data.panels.map((p) => readMap({ ...p, role: "panel" }));
  if (data.panelsFirst) stage.maps.push(...panels);
  for (const o of data.outputs) {
    const read = readMap({ ...o, range: data.range, ramp: data.ramp, role: "output", space: o.keepsCells ? "input" : "output" });
    const cells = o.keepsCells ? 1 : data.grid.kernel[0] * data.grid.kernel[1];
    read.weights = decodeWeights(o.weights, cells);
    read.probabilities = o.probabilities && decodeWeights(o.probabilities, cells);
    stage.maps.push(read);
  }
  if (!data.panelsFirst) stage.maps.push(...panels);
  const [rows, columns] = data.grid.output;
  const told = data.cell.join();
  // an answer to an earlier click may arrive after a later one: the later one counts
  const stale = stage.sent && stage.sent.cell !== told && performance.now() - stage.sent.at < 3000;
  if (!stale) {
    stage.sent = null;
    if (told !== stage.told) stage.pinned = data.cell;
    stage.told = told;
  }
  stage.pinned = [Math.min(stage.pinned[0], rows - 1), Math.min(stage.pinned[1], columns - 1)];
  if (!stage.timer || !stage.cell) stage.cell = stage.pinned;
  stage.cell = [Math.min(stage.cell[0], rows - 1), Math.min(stage.cell[1], columns - 1)];
  stage.scrub.max = rows * columns - 1;
  stage.row.max = rows - 1;
  stage.column.max = columns - 1;
  stage.root.setAttribute("aria-label", data.title.replace("\n", ", "));
  buildCards(stage);
  fillLegend(stage.root.querySelector(".transport .legend"), data);
  stage.width = 0;
  layout(stage);
}

function readMap(map) {
  const read = { ...map, values: decodeFloats(map.values) };
  read.rampColours = buildRamp(map.ramp);
  read.picture = paintCells(read, map.range, read.rampColours);
  if (map.width <= 24) {
    const numbers = Array.from(read.values);
    read.texts = numbers.map(formatNumber);
    read.inks = numbers.map((value) => inkOn(colourOf(value, map.range, read.rampColours) || [128, 128, 128]));
  }
  return read;
}

// ---- building the page once per data change; user text goes through textContent only

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function buildCards(stage) {
  const holder = stage.root.querySelector(".main");
  const shape = stage.maps.map((m) => `${m.role}:${m.title}`).join("|");
  if (shape !== stage.shape) {
    holder.replaceChildren();
    stage.cards = stage.maps.map((map) => buildCard(stage, map, holder));
    stage.shape = shape;
  }
  stage.root.classList.toggle("compact", stage.data.compact);
  stage.cards.forEach((card, i) => {
    const map = stage.maps[i];
    card.map = map;
    card.note.textContent = [`${map.height} × ${map.width}`, map.note].filter(Boolean).join(" · ");
    if (card.legend) fillLegend(card.legend, map);
    card.canvas.setAttribute("aria-label", `${map.title}, ${map.height} by ${map.width} cells. Arrow keys move the cell.`);
  });
}

function buildCard(stage, map, holder) {
  const node = element("section", `card ${map.role}`);
  const head = element("header");
  const name = element("h4", "", map.title);
  if (map.colour) name.style.setProperty("--operator", map.colour);
  head.append(name);
  const canvas = element("canvas", "map");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const note = element("p", "note");
  const window_ = element("canvas", "window");
  const words = element("p", "words");
  node.append(head, canvas, note, window_, words);
  const legend = map.role === "panel" ? buildLegend() : null; // its scale is not the maps'
  if (legend) window_.replaceWith(legend);
  holder.append(node);
  const card = { node, legend, canvas, note, window: window_, words, map };
  canvas.onpointermove = (event) => {
    if (event.pointerType === "mouse" && !stage.timer) show(stage, cellAt(stage, card, event));
  };
  canvas.onpointerleave = () => stage.timer || show(stage, stage.pinned);
  canvas.onclick = (event) => {
    pause(stage);
    stage.pin(cellAt(stage, card, event));
  };
  canvas.onkeydown = (event) => moveByKey(stage, event);
  return card;
}

function buildTransport(stage) {
  const find = (name) => stage.root.querySelector(`[data-control="${name}"]`);
  stage.play = find("play");
  stage.scrub = find("scrub");
  stage.row = find("row");
  stage.column = find("column");
  stage.live = stage.root.querySelector(".live");
  stage.play.onclick = () => (stage.timer ? pause(stage, true) : play(stage));
  find("back").onclick = () => step(stage, -1);
  find("next").onclick = () => step(stage, 1);
  stage.scrub.oninput = () => {
    pause(stage);
    show(stage, cellOfIndex(stage, +stage.scrub.value));
  };
  stage.scrub.onchange = () => settle(stage, cellOfIndex(stage, +stage.scrub.value));
  for (const input of [stage.row, stage.column]) {
    input.onchange = () => {
      pause(stage);
      const bound = (box) => Math.max(0, Math.min(+box.max, Math.round(+box.value || 0)));
      const cell = [bound(stage.row), bound(stage.column)];
      [stage.row.value, stage.column.value] = cell;
      stage.pin(cell);
      announce(stage);
    };
  }
}

// ---- which cell

function cellOfIndex(stage, index) {
  const columns = stage.data.grid.output[1];
  return [Math.floor(index / columns), index % columns];
}

function indexOfCell(stage, [r, c]) {
  return r * stage.data.grid.output[1] + c;
}

// The output cell under the pointer; over the input, the cell whose window has its centre nearest.
function cellAt(stage, card, event) {
  const { x, y } = pointerAt(card.canvas, card.side, event);
  const { kernel, stride, padding, dilation, output } = stage.data.grid;
  return [(y - card.top) / card.cell, (x - card.left) / card.cell].map((position, axis) => {
    let index = Math.floor(position);
    if (card.map.space === "input") {
      const middle = (dilation[axis] * (kernel[axis] - 1) + 1) / 2;
      index = Math.round((position + padding[axis] - middle) / stride[axis]);
    }
    return Math.max(0, Math.min(output[axis] - 1, index));
  });
}

function pin(stage, cell, setTriggerValue) {
  clearTimeout(stage.settling);
  stage.pinned = cell;
  show(stage, cell);
  if (cell.join() !== stage.told) {
    stage.told = cell.join();
    stage.sent = { cell: stage.told, at: performance.now() };
    setTriggerValue("cell", cell.join());
  }
}

function step(stage, by) {
  pause(stage);
  const count = stage.data.grid.output[0] * stage.data.grid.output[1];
  settle(stage, cellOfIndex(stage, (indexOfCell(stage, stage.cell) + by + count) % count));
}

function moveByKey(stage, event) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  pause(stage);
  const bound = (value, axis) => Math.max(0, Math.min(stage.data.grid.output[axis] - 1, value));
  const cell = stage.cell.map((value, axis) => bound(value + move[axis], axis));
  settle(stage, cell);
}

// Keep a cell, and tell the server when nothing has moved for a while: a held key must not send a message a step.
function settle(stage, cell) {
  stage.pinned = cell;
  show(stage, cell);
  announce(stage);
  clearTimeout(stage.settling);
  stage.settling = setTimeout(() => stage.pin(cell), 400);
}

function play(stage) {
  const count = () => stage.data.grid.output[0] * stage.data.grid.output[1]; // the map may change meanwhile
  const pace = Math.max(60, Math.min(700, 20000 / count())); // a whole map in about 20 s
  stage.play.textContent = "⏸ Pause";
  stage.timer = setInterval(() => show(stage, cellOfIndex(stage, (indexOfCell(stage, stage.cell) + 1) % count())), pace);
}

function pause(stage, pinHere = false) {
  if (!stage.timer) return;
  clearInterval(stage.timer);
  stage.timer = null;
  stage.play.textContent = "▶ Play";
  if (pinHere) stage.pin(stage.cell);
}
