// Heatmaps on a canvas: decoding, colour, numbers in cells, outlines. Knows nothing of pooling or of Streamlit.

function decodeFloats(base64) {
  return new Float32Array(decodeBytes(base64).buffer);
}

function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

// A lookup weight(window, cell) over weights in any of the forms that the server sends.
function decodeWeights(sent, cells) {
  if (sent.place) {
    const places = decodeBytes(sent.place);
    return (window_, cell) => (places[window_] === cell ? 1 : 0);
  }
  if (sent.shared) {
    const row = decodeFloats(sent.shared);
    return (window_, cell) => row[cell];
  }
  if (sent.bfloat16) {
    const halves = new Uint16Array(decodeBytes(sent.bfloat16).buffer);
    const floats = new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
    return (window_, cell) => floats[window_ * cells + cell];
  }
  const floats = decodeFloats(sent.float32);
  return (window_, cell) => floats[window_ * cells + cell];
}

// Four significant digits, three below 1, as a person would write them: 12.45, 0.0933, 1.2e−7.
function formatNumber(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(+value.toPrecision(size < 1 ? 3 : 4));
  return text.replace("-", "−");
}

function hexToRgb(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

// 256 colours between evenly spaced anchors.
function buildRamp(anchors) {
  const stops = anchors.map(hexToRgb);
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((c, k) => Math.round(c + (stops[low + 1][k] - c) * (at - low)));
  });
}

function colourOf(value, range, ramp) {
  if (Number.isNaN(value)) return null;
  const span = range[1] - range[0];
  const share = span > 0 ? (value - range[0]) / span : 0;
  return ramp[Math.max(0, Math.min(255, Math.round(share * 255)))];
}

// Black or white, whichever reads better on a colour (WCAG relative luminance).
function inkOn([r, g, b]) {
  const linear = [r, g, b].map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000" : "#fff";
}

// One pixel a cell; enlarged later without smoothing. NaN stays transparent.
function paintCells(map, range, ramp) {
  const canvas = document.createElement("canvas");
  canvas.width = map.width;
  canvas.height = map.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(map.width, map.height);
  map.values.forEach((value, i) => {
    const rgb = colourOf(value, range, ramp);
    if (rgb) image.data.set([...rgb, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  context.beginPath();
  for (let d = -height; d < width; d += 7) {
    context.moveTo(x + d, y + height);
    context.lineTo(x + d + height, y);
  }
  context.stroke();
  context.restore();
}

// White within black can be seen on every colour of the ramp, from the last row of a classroom too.
function outline(context, x, y, width, height) {
  context.save();
  context.lineJoin = "miter";
  for (const [colour, line] of [["#000", 6], ["#fff", 3]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(x, y, width, height);
  }
  context.restore();
}

// How much larger than its own pixels a node is on the screen: projector mode enlarges the page.
function zoomOf(node) {
  return node.currentCSSZoom || 1;
}

// Letters that are smaller are left out. On a wall that is what the last row cannot read.
function leastLetters(node) {
  const zoom = zoomOf(node);
  return zoom > 1 ? 18 / zoom : 8.5;
}

// Where a pointer is, in the pixels that fitCanvas has given a canvas of `width`.
function pointerAt(canvas, width, event) {
  const box = canvas.getBoundingClientRect();
  const scale = width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

// Size a canvas in CSS pixels, sharp on any screen; returns its context in CSS pixels.
function fitCanvas(canvas, width, height) {
  const ratio = (window.devicePixelRatio || 1) * zoomOf(canvas);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// Numbers inside the cells, all of one size; none where the longest would not fit.
function writeNumbers(context, texts, columns, left, top, cell, inks, font) {
  const longest = Math.max(...texts.map((text) => text.length));
  const size = Math.min(15, (cell - 3) / (0.58 * Math.max(2, longest)));
  if (size < leastLetters(context.canvas)) return;
  context.font = `${size}px ${font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  texts.forEach((text, i) => {
    context.fillStyle = inks[i];
    context.fillText(text, left + ((i % columns) + 0.5) * cell, top + (Math.floor(i / columns) + 0.5) * cell);
  });
}
