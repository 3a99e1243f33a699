// What the token board draws for its place: heatmap, vectors, the column in numbers, weights, arithmetic in words.

const HEAD = 40; // pixels above the rows, for the names of what stands below
const STRIP = 22; // height of a pooled vector
const GAP = 6;

function writeBoard(board) {
  const { data, root } = board;
  board.words = writeSentence(root.querySelector(".sentence"), data.pieces);
  board.words.forEach((word, token) => {
    word.onpointerenter = (event) => event.pointerType === "mouse" && showPlace(board, [token, board.place[1]]);
    word.onpointerleave = () => showPlace(board, board.pinned);
    word.onclick = () => keep(board, [token, board.place[1]]);
  });
  const lines = root.querySelector(".lines");
  lines.replaceChildren();
  board.lines = board.readings.map((reading) => {
    const [who, what] = [document.createElement("span"), document.createElement("span")];
    who.className = "who";
    who.textContent = reading.title;
    who.style.setProperty("--operator", reading.colour);
    what.className = "what";
    lines.append(who, what);
    return what;
  });
}

function layoutBoard(board) {
  const width = board.root.clientWidth;
  if (!width || !board.data || Math.abs(width - board.width) < 1) return;
  board.width = width;
  const style = getComputedStyle(board.root);
  const variable = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  board.ink = variable("--st-text-color", "#222");
  board.paper = variable("--st-background-color", "#fff");
  board.font = variable("--st-font", "sans-serif");
  const columns = board.readings.length + 1; // the column in numbers, then a column of weights a reading
  const ruler = board.canvas.getContext("2d");
  ruler.font = `700 14px ${board.font}`;
  const names = Math.max(...board.names.map((name) => ruler.measureText(name).width));
  board.least = leastLetters(board.canvas);
  const lone = board.data.tall / board.tokens - 1 < Math.max(12, board.least); // rows too low for names: one name with its number
  const left = Math.min(Math.max(56, names + (lone ? 48 : 12)), Math.max(72, width * 0.16));
  const bar = Math.max(12, Math.min(70, (width * 0.4) / columns, (width - left - 128) / columns - 8));
  const wide = Math.max(120, width - left - columns * (bar + 8) - 8);
  const row = Math.max(2, Math.min(28, board.data.tall / board.tokens));
  const below = HEAD + row * board.tokens + 30;
  const height = below + board.readings.length * (STRIP + GAP);
  board.narrow = new Map();
  board.sizes = { left, wide, bar, row, top: HEAD, below, height, width };
  drawBoard(board);
}

function drawBoard(board) {
  const { sizes, data } = board;
  const [token, dimension] = board.place;
  const context = fitCanvas(board.canvas, sizes.width, sizes.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(narrowed(board, board.picture), sizes.left, sizes.top, sizes.wide, sizes.row * board.tokens);
  drawPaddingRows(board, context);
  drawVectors(board, context);
  drawTokenNames(board, context);
  drawColumn(board, context);
  drawShares(board, context);
  drawFrame(board, context);
  board.words.forEach((word, i) => word.classList.toggle("here", i === token));
  board.lines.forEach((line, i) => writeLine(board, line, board.readings[i]));
  board.canvas.setAttribute(
    "aria-label",
    `${board.tokens} tokens by ${board.dimensions} dimensions. Arrow keys move. Now: ${board.names[token]}, dimension ${dimension}.`,
  );
  board.root.dataset.place = board.place.join();
  board.root.dataset.painted = "yes";
  board.root.dataset.title = data.title;
}

// Where there are fewer pixels than dimensions, neighbours are averaged along the row; rows keep their edges.
function narrowed(board, picture) {
  const pixels = Math.round(board.sizes.wide * (window.devicePixelRatio || 1));
  if (pixels >= picture.width) return picture;
  if (board.narrow.has(picture)) return board.narrow.get(picture);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [pixels, picture.height];
  canvas.getContext("2d").drawImage(picture, 0, 0, pixels, picture.height);
  board.narrow.set(picture, canvas);
  return canvas;
}

function write(context, board, text, x, y, { size = 13, align = "left", weight = 400, most = 1e4, alpha = 1 } = {}) {
  context.font = `${weight} ${size}px ${board.font}`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillStyle = board.ink;
  context.globalAlpha = alpha;
  let shown = text;
  if (context.measureText(shown).width > most) {
    const letters = Array.from(text); // whole characters, not halves of emoji
    while (letters.length && context.measureText(`${letters.join("")}…`).width > most) letters.pop();
    shown = `${letters.join("")}…`;
  }
  context.fillText(shown, x, y);
  context.globalAlpha = 1;
}

function drawPaddingRows(board, context) {
  const { left, top, wide, row } = board.sizes;
  board.data.pieces.forEach((piece, i) => {
    if (piece.kind !== "padding") return;
    if (!board.data.mask[i]) {
      context.fillStyle = board.paper;
      context.globalAlpha = 0.6;
      context.fillRect(left, top + i * row, wide, row);
      context.globalAlpha = 1;
    }
    hatch(context, left, top + i * row, wide, row, board.ink);
  });
}

function drawVectors(board, context) {
  const { left, wide, below, bar } = board.sizes;
  const dimension = board.place[1];
  write(context, board, "pooled vectors", left, below - 13, { alpha: 0.75, most: wide });
  board.readings.forEach((reading, i) => {
    const y = below + i * (STRIP + GAP);
    context.drawImage(narrowed(board, reading.picture), left, y, wide, STRIP);
    const value = formatNumber(reading.vector[dimension]);
    const right = left + wide + 8 + Math.max(bar, 54);
    write(context, board, value, right, y + STRIP / 2, { align: "right", weight: 650, most: right - left - wide });
    context.fillStyle = reading.colour;
    context.fillRect(right + 9, y + 5, 12, STRIP - 10);
    write(context, board, reading.title, right + 27, y + STRIP / 2, { most: board.sizes.width - right - 28, weight: 600 });
  });
}

function drawTokenNames(board, context) {
  const { left, top, row } = board.sizes;
  const [token] = board.place;
  const size = Math.min(14, row - 1);
  const lone = size < Math.max(12, board.least);
  board.names.forEach((name, i) => {
    if (size < board.least || (i === token && lone)) return;
    const faint = board.data.mask[i] ? 1 : 0.55;
    write(context, board, name, left - 6, top + (i + 0.5) * row, {
      align: "right", size, most: left - 8, weight: i === token ? 700 : 400, alpha: faint,
    });
  });
  if (!lone) return;
  // rows too low for names: the one that is pointed at
  const y = Math.max(top + 9, Math.min(top + row * board.tokens - 9, top + (token + 0.5) * row));
  context.fillStyle = board.paper;
  context.fillRect(0, y - 10, left - 2, 20);
  write(context, board, `${token}: ${board.names[token]}`, left - 6, y, { align: "right", most: left - 8, weight: 700 });
}

// The chosen dimension, wide enough for its numbers.
function drawColumn(board, context) {
  const { left, top, wide, row, bar } = board.sizes;
  const dimension = board.place[1];
  const x = left + wide + 8;
  write(context, board, `dim ${dimension}`, x + bar, top - 12, { align: "right", weight: 650, most: bar + 40 });
  for (let i = 0; i < board.tokens; i++) {
    const value = board.hidden[i * board.dimensions + dimension];
    const rgb = colourOf(value, board.data.range, board.ramp) || [128, 128, 128];
    context.globalAlpha = board.data.mask[i] ? 1 : 0.4;
    context.fillStyle = `rgb(${rgb})`;
    context.fillRect(x, top + i * row, bar, Math.ceil(row));
    context.globalAlpha = 1;
    const size = Math.min(13, row - 2);
    if (size < Math.max(10, board.least)) continue;
    context.font = `${size}px ${board.font}`;
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillStyle = inkOn(rgb);
    const text = formatNumber(value);
    if (context.measureText(text).width < bar - 4) context.fillText(text, x + bar - 4, top + (i + 0.5) * row);
  }
}

// A column a reading: what each token weighs in the chosen dimension, from 0 to 1.
function drawShares(board, context) {
  const { left, top, wide, row, bar } = board.sizes;
  const dimension = board.place[1];
  board.readings.forEach((reading, i) => {
    const x = left + wide + 8 + (i + 1) * (bar + 8);
    drawHeading(board, context, reading, x, bar);
    context.strokeStyle = board.ink;
    context.globalAlpha = 0.3;
    context.beginPath();
    context.moveTo(x + 0.5, top);
    context.lineTo(x + 0.5, top + row * board.tokens);
    context.stroke();
    for (let token = 0; token < board.tokens; token++) {
      const weight = reading.weight(dimension, token);
      const odds = reading.odds ? reading.odds(dimension, token) : null;
      const share = odds ?? weight;
      const faint = odds !== null && !(weight > 0);
      context.globalAlpha = faint ? 0.35 : 0.9;
      context.fillStyle = reading.colour;
      const y = top + token * row;
      context.fillRect(x + 1, y + Math.min(2, row / 8), (bar - 1) * Math.min(1, Math.max(0, share)), row - Math.min(4, row / 4));
      context.globalAlpha = 1;
      if (row < 14 || bar < 30 || share === 0) continue;
      const text = shortShare(share);
      const inside = share > 0.6;
      context.font = `13px ${board.font}`;
      context.textAlign = inside ? "right" : "left";
      context.textBaseline = "middle";
      context.fillStyle = inside && !faint ? inkOn(hexToRgb(reading.colour)) : board.ink;
      context.fillText(text, inside ? x + (bar - 1) * Math.min(1, share) - 3 : x + 4 + (bar - 1) * share, y + row / 2);
    }
    context.globalAlpha = 1;
  });
}

// A reading's name above its weights, in up to two lines.
function drawHeading(board, context, reading, x, bar) {
  const [, first, second] = /^(.*): (.*)$/.exec(reading.title) || /^(\S+?-|\S+) ?(.*)$/.exec(reading.title);
  const lines = second ? [first, second] : ["", first];
  context.font = `600 13px ${board.font}`;
  const longest = Math.max(...lines.map((line) => context.measureText(line).width));
  const size = Math.max(board.least, Math.min(13, (13 * (bar + 6)) / longest)); // small letters beat missing ones
  lines.forEach((line, i) => write(context, board, line, x, HEAD - 27 + 15 * i, { size, weight: 600, most: bar + 7 }));
}

function drawFrame(board, context) {
  const { left, top, wide, row, below } = board.sizes;
  const [token, dimension] = board.place;
  const column = wide / board.dimensions;
  const x = left + board.at[dimension] * column;
  const margin = Math.max(0, (7 - column) / 2); // a column of two pixels would vanish under its own outline
  const tall = row * board.tokens;
  thinOutline(context, x - margin, top - 2, column + 2 * margin, tall + 4);
  thinOutline(context, x - margin, below - 2, column + 2 * margin, board.readings.length * (STRIP + GAP) - GAP + 4);
  const high = Math.max(row, 4);
  thinOutline(context, left - 2, top + (token + 0.5) * row - high / 2, wide + 4, high);
  if (wide < 260) return; // the dimension's number needs the room
  const sorted = board.data.order.every((dimension_, i) => dimension_ === i) ? "" : ", sorted";
  write(context, board, `${board.dimensions} dimensions of ${board.tokens} tokens${sorted}`, left, top - 12, { alpha: 0.75, most: wide });
}

function thinOutline(context, x, y, width, height) {
  for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x, y, width, height);
  }
}

function writeLine(board, line, reading) {
  const dimension = board.place[1];
  const bars = Array.from({ length: board.tokens }, (_, token) => ({
    value: board.hidden[token * board.dimensions + dimension],
    padding: !board.data.mask[token],
    weight: reading.weight(dimension, token),
    odds: reading.odds ? reading.odds(dimension, token) : null,
  }));
  line.textContent = arithmetic(reading, bars, reading.vector[dimension]);
  const speaker = bars.findIndex((bar) => bar.weight === 1);
  // beside the sum of products a weight of 1 may be a rounded one
  if (speaker < 0 || (reading.arithmetic.includes("{wx}") && !reading.odds)) return;
  const name = document.createElement("bdi");
  name.textContent = board.names[speaker];
  line.append(", from ", name);
}

function announcePlace(board) {
  requestAnimationFrame(() => {
    const [token, dimension] = board.place;
    const value = formatNumber(board.hidden[token * board.dimensions + dimension]);
    const words = board.lines.map((line, i) => `${board.readings[i].title}: ${line.textContent}`).join("; ");
    board.root.querySelector(".live").textContent = `Token ${board.names[token]}, dimension ${dimension}: ${value}. ${words}`;
  });
}
