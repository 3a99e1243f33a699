// Networks' answers to one picture: a card each with its answer, a bar a class, and its maps before and after pooling.

function make(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

// A softmax is never sure: neither 100 % nor 0 % is said.
function percent(share) {
  if (share >= 0.9995) return "> 99.9 %";
  if (share < 0.0005) return "< 0.1 %";
  return `${(100 * share).toFixed(share > 0.99 || share < 0.1 ? 1 : 0)} %`;
}

function drawBars(card, classes) {
  const bars = make("div", "bars");
  bars.setAttribute("role", "img");
  bars.tabIndex = 0;
  bars.setAttribute("aria-label", classes.map((label, i) => `${label}: ${percent(card.shares[i])}`).join(", "));
  classes.forEach((label, i) => {
    const bar = make("i");
    bar.style.height = `${100 * card.shares[i]}%`;
    const column = make("div", label === card.answer ? "first" : "", make("i", "", bar), make("em", "", label));
    column.title = `${label}: ${percent(card.shares[i])}`;
    bars.append(column);
  });
  return bars;
}

// One column a channel: its number, its map before pooling and its map after.
function drawMaps(card) {
  const ramp = buildRamp(card.ramp);
  const sides = [["before", card.before], ...(card.pools ? [["after", card.after]] : [])];
  const levels = sides.map(([, strip]) => decodeBytes(strip.levels));
  const label = ([when, { height, width }]) => make("span", "side", when, make("br"), `${height} × ${width}`, make("br"), `≤ ${formatNumber(card.high)}`);
  const columns = make("div", "maps", make("div", "", make("span", "number", "channel"), ...sides.map(label)));
  card.channels.forEach((channel, i) => {
    const canvases = sides.map(([when, { height, width }], side) => {
      const values = levels[side].subarray(i * height * width, (i + 1) * height * width);
      const canvas = paintCells({ height, width, values }, [0, 255], ramp);
      canvas.setAttribute("role", "img");
      canvas.title = `channel ${channel} ${when} pooling; colours up to ${formatNumber(card.high)}`;
      canvas.setAttribute("aria-label", canvas.title);
      return canvas;
    });
    columns.append(make("div", "", make("span", "number", String(channel)), ...canvases));
  });
  return card.pools ? columns : make("div", "", columns, make("p", "kept", "No pooling layer: every cell goes on."));
}

function drawCard(card, classes) {
  const swatch = make("i");
  swatch.style.background = card.colour;
  const top = make("p", card.answer.length > 1 ? "top words" : "top", make("b", "", card.answer));
  top.append(percent(Math.max(...card.shares)));
  const said = make("div", "", make("h4", "", swatch, card.name), make("div", "said", top, drawBars(card, classes)));
  return make("section", "card", said, drawMaps(card));
}

export default function (component) {
  const { data, parentElement } = component;
  const verdict = parentElement.querySelector(".verdict");
  verdict.textContent = data.verdict;
  verdict.dataset.agreed = data.agreed;
  parentElement.querySelector(".cards").replaceChildren(...data.cards.map((card) => drawCard(card, data.classes)));
}
