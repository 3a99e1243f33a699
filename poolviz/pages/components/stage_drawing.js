// What the stage draws for its cell: maps, windows, weights and the arithmetic in words. Changes no state but its cards'.

const MARGIN = 3; // pixels around a map, so that an outline at its border is whole

function layout(stage) {
  const width = stage.root.clientWidth;
  if (!width || !stage.data || Math.abs(width - stage.width) < 1) return;
  stage.width = width;
  const style = getComputedStyle(stage.root);
  const variable = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  stage.ink = variable("--st-text-color", "#222");
  stage.font = variable("--st-font", "sans-serif");
  const gap = 20;
  const count = stage.cards.length;
  const least = stage.data.compact ? 110 : 170; // pixels at which a picture stays readable
  const fit = (columns) => (width - gap * (columns - 1)) / columns;
  // all beside one another where there is room, else in rows of equal length
  let columns = Math.min(count, 5);
  while (columns > 1 && fit(columns) < least) columns -= 1;
  columns = Math.ceil(count / Math.ceil(count / columns));
  const side = Math.floor(Math.min(stage.data.largest, fit(columns)));
  stage.root.style.setProperty("--side", `${side}px`);
  for (const card of stage.cards) {
    const input = card.map.role === "input" || (card.map.role === "panel" && card.map.space === "input");
    const before = input ? stage.data.grid.padding : [0, 0];
    card.after = input ? reachOut(stage.data.grid, [card.map.height, card.map.width]) : [0, 0];
    const rows = before[0] + card.map.height + card.after[0];
    const cells = before[1] + card.map.width + card.after[1];
    card.cell = (side - 2 * MARGIN) / Math.max(cells, rows);
    card.left = before[1] * card.cell + (side - cells * card.cell) / 2;
    card.top = before[0] * card.cell + MARGIN;
    card.height = rows * card.cell + 2 * MARGIN;
    card.side = side;
  }
  show(stage, stage.cell);
}

// Cells below and to the right of the input that windows look at: the padding, or more in ceil mode.
function reachOut({ kernel, stride, padding, dilation, output }, size) {
  return size.map((length, axis) => {
    const end = (output[axis] - 1) * stride[axis] - padding[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
    return Math.max(padding[axis], end - length);
  });
}

function show(stage, cell) {
  stage.cell = cell;
  stage.scrub.value = indexOfCell(stage, cell);
  if (stage.root.getRootNode().activeElement !== stage.row) stage.row.value = cell[0];
  if (stage.root.getRootNode().activeElement !== stage.column) stage.column.value = cell[1];
  cancelAnimationFrame(stage.frame);
  stage.frame = requestAnimationFrame(() => {
    stage.window = readWindow(stage, cell);
    for (const card of stage.cards) {
      drawMap(stage, card);
      if (card.map.role === "input") drawWindow(stage, card);
      else if (card.map.role === "output") drawWeights(stage, card);
      else card.words.textContent = panelWords(stage, card.map);
    }
    stage.root.dataset.cell = cell.join();
    stage.root.dataset.painted = String(1 + Number(stage.root.dataset.painted || 0));
  });
}

// Positions and values of the cells in the window of an output cell, in row-major order; value null is padding.
function readWindow(stage, [r, c]) {
  const { kernel, stride, padding, dilation } = stage.data.grid;
  const { width, height, values } = stage.maps[0];
  const cells = [];
  for (let i = 0; i < kernel[0]; i++) {
    for (let j = 0; j < kernel[1]; j++) {
      const y = r * stride[0] - padding[0] + i * dilation[0];
      const x = c * stride[1] - padding[1] + j * dilation[1];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      cells.push({ y, x, value: inside ? values[y * width + x] : null });
    }
  }
  return cells;
}

function drawMap(stage, card) {
  const { map, cell, left, top } = card;
  const context = fitCanvas(card.canvas, card.side, card.height);
  context.imageSmoothingEnabled = false;
  context.drawImage(map.picture, left, top, map.width * cell, map.height * cell);
  if (map.role === "input") drawPadding(stage, card, context);
  if (map.texts) writeNumbers(context, map.texts, map.width, left, top, cell, map.inks, stage.font);
  if (map.space === "output") {
    const [r, c] = stage.cell;
    outline(context, left + c * cell, top + r * cell, cell, cell);
    return;
  }
  const { dilation } = stage.data.grid;
  const first = stage.window[0];
  const last = stage.window[stage.window.length - 1];
  if (Math.max(...dilation) > 1) {
    for (const at of stage.window) outline(context, left + at.x * cell, top + at.y * cell, cell, cell);
  } else {
    const size = [(last.x - first.x + 1) * cell, (last.y - first.y + 1) * cell];
    outline(context, left + first.x * cell, top + first.y * cell, ...size);
  }
}

function drawPadding(stage, card, context) {
  const [above, left] = stage.data.grid.padding.map((p) => p * card.cell);
  const [below, right] = card.after.map((n) => n * card.cell);
  const [w, h] = [card.map.width * card.cell, card.map.height * card.cell];
  const x = card.left - left;
  for (const [px, py, pw, ph] of [
    [x, MARGIN, left + w + right, above],
    [x, card.top + h, left + w + right, below],
    [x, card.top, left, h],
    [card.left + w, card.top, right, h],
  ]) {
    if (pw > 0 && ph > 0) hatch(context, px, py, pw, ph, stage.ink);
  }
}

const STRIP = 118; // height of the window picture and of the bars, so that both stand on one line

function drawWindow(stage, card) {
  const [rows, columns] = stage.data.grid.kernel;
  const context = fitCanvas(card.window, card.side, STRIP);
  const cell = Math.min(STRIP / rows, card.side / columns, 58);
  const left = (card.side - cell * columns) / 2;
  stage.window.forEach((at, i) => {
    const [x, y] = [left + (i % columns) * cell, Math.floor(i / columns) * cell];
    const rgb = at.value === null ? null : colourOf(at.value, card.map.range, card.map.rampColours);
    if (rgb) {
      context.fillStyle = `rgb(${rgb})`;
      context.fillRect(x, y, Math.ceil(cell), Math.ceil(cell));
    } else {
      hatch(context, x, y, cell, cell, stage.ink);
    }
  });
  // in a narrow cell two digits that can be read beat four that cannot
  const short = (value) => (Math.abs(value) < 1 && cell < 45 ? String(+value.toPrecision(2)).replace("-", "−") : formatNumber(value));
  const texts = stage.window.map((at) => (at.value === null ? "pad" : short(at.value)));
  const inks = stage.window.map((at) => {
    const rgb = at.value === null ? null : colourOf(at.value, card.map.range, card.map.rampColours);
    return rgb ? inkOn(rgb) : stage.ink;
  });
  writeNumbers(context, texts, columns, left, 0, cell, inks, stage.font);
  const [r, c] = stage.cell;
  const padded = stage.window.filter((at) => at.value === null).length;
  const first = stage.window[0];
  const last = stage.window[stage.window.length - 1];
  const span = `rows ${first.y} to ${last.y}, columns ${first.x} to ${last.x}`.replace(/-(\d)/g, "−$1");
  card.words.textContent = `Window of output (${r}, ${c}): ${span}${padded ? `; ${padded} of ${stage.window.length} cells are padding` : ""}`;
}

// One bar a cell of the window, in reading order, from 0 to 1 (further where an effective gradient goes further);
// a drawn cell is full among the pale bars of the odds.
function drawWeights(stage, card) {
  const { map } = card;
  const context = fitCanvas(card.window, card.side, STRIP);
  const explained = explain(stage, map);
  card.words.textContent = explained.words;
  const bars = explained.bars;
  if (card.side / bars.length < 30) {
    drawWeightGrid(stage, card, context, explained);
    return;
  }
  const base = explained.lowest < 0 ? STRIP / 2 : STRIP - 16;
  const most = Math.max(1, explained.largest, -explained.lowest);
  const room = (explained.lowest < 0 ? STRIP / 2 - 14 : STRIP - 34) / most;
  const slot = Math.min(64, card.side / bars.length);
  const left = (card.side - slot * bars.length) / 2;
  context.textAlign = "center";
  bars.forEach((bar, i) => {
    const x = left + i * slot + slot * 0.12;
    const width = slot * 0.76;
    context.fillStyle = map.colour;
    if (bar.odds !== null) {
      context.globalAlpha = 0.35;
      context.fillRect(x, base - bar.odds * room, width, bar.odds * room);
      context.globalAlpha = 1;
      if (bar.weight > 0) context.fillRect(x, base - bar.odds * room, width, bar.odds * room);
    } else {
      context.fillRect(x, base - Math.max(0, bar.weight) * room, width, Math.abs(bar.weight) * room);
    }
    const shown = bar.odds !== null ? bar.odds : bar.weight;
    if (slot >= 30) {
      context.fillStyle = stage.ink;
      context.font = `13px ${stage.font}`;
      context.textBaseline = "alphabetic";
      context.fillText(bar.padding ? "pad" : shortShare(shown), x + width / 2, base - Math.max(0, shown) * room - 4);
      context.globalAlpha = 0.75;
      const below = bar.padding ? "" : formatNumber(bar.value);
      if (context.measureText(below).width < slot) context.fillText(below, x + width / 2, STRIP - 3);
      context.globalAlpha = 1;
    }
  });
  context.strokeStyle = stage.ink;
  context.globalAlpha = 0.5;
  context.beginPath();
  context.moveTo(left, base + 0.5);
  context.lineTo(left + slot * bars.length, base + 0.5);
  context.stroke();
  context.globalAlpha = 1;
}

// Large windows: bars that lie in the window's own rows and columns.
function drawWeightGrid(stage, card, context, { bars, largest, lowest }) {
  const [rows, columns] = stage.data.grid.kernel;
  const [width, height] = [Math.min(72, card.side / columns), STRIP / rows];
  const left = (card.side - width * columns) / 2;
  const most = Math.max(1, largest, -lowest);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `13px ${stage.font}`;
  bars.forEach((bar, i) => {
    const [x, y] = [left + (i % columns) * width, Math.floor(i / columns) * height];
    const share = bar.odds ?? bar.weight;
    context.strokeStyle = stage.ink;
    context.globalAlpha = 0.25;
    context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    context.fillStyle = card.map.colour;
    context.globalAlpha = bar.odds !== null && !(bar.weight > 0) ? 0.3 : 0.75;
    context.fillRect(x + 1, y + 1, ((width - 2) * Math.abs(share)) / most, height - 2);
    context.globalAlpha = 1;
    context.fillStyle = stage.ink;
    const text = bar.padding ? "pad" : shortShare(share);
    if (height >= 13 && context.measureText(text).width < width - 4) context.fillText(text, x + width / 2, y + height / 2);
  });
}

// Bars and the sentence of arithmetic for one operator at the current cell.
function explain(stage, map) {
  const [r, c] = stage.cell;
  const window_ = map.keepsCells ? [stage.window.find((at) => at.value !== null) || stage.window[0]] : stage.window;
  const place = map.keepsCells ? window_[0].y * map.width + window_[0].x : indexOfCell(stage, [r, c]);
  const result = map.values[place];
  const bars = window_.map((at, i) => ({
    value: at.value === null ? 0 : at.value,
    padding: at.value === null,
    weight: map.weights(place, i),
    odds: map.probabilities ? map.probabilities(place, i) : null,
  }));
  const heights = bars.map((bar) => bar.odds ?? bar.weight);
  return { bars, largest: Math.max(...heights), lowest: Math.min(...heights), words: arithmetic(map, bars, result) };
}

function panelWords(stage, map) {
  const [r, c] = stage.cell;
  if (map.space === "output") return `at (${r}, ${c}): ${formatNumber(map.values[r * map.width + c])}`;
  const inside = stage.window.filter((at) => at.value !== null);
  const values = inside.map((at) => formatNumber(map.values[at.y * map.width + at.x]));
  return `in the window: ${join(values, ", ", "cells")}`;
}

function announce(stage) {
  requestAnimationFrame(() => {
    const [r, c] = stage.cell;
    const pooled = stage.cards.filter((card) => card.map.role !== "input");
    const words = pooled.map((card) => `${card.map.title}: ${card.words.textContent}`).join("; ");
    stage.live.textContent = `Row ${r}, column ${c}. ${words}`;
  });
}

function buildLegend() {
  const legend = element("div", "legend");
  legend.append(element("span", "low"), element("span", "bar"), element("span", "high"));
  return legend;
}

function fillLegend(legend, { range, ramp }) {
  const [low, high] = range.map(formatNumber);
  legend.setAttribute("role", "img");
  legend.setAttribute("aria-label", `Colour scale from ${low} to ${high}`);
  legend.querySelector(".bar").style.background = `linear-gradient(90deg, ${ramp.join(",")})`;
  legend.querySelector(".low").textContent = low;
  legend.querySelector(".high").textContent = high;
}
