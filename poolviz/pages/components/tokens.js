// Tokens by dimensions: every token's embedding a row, every pooled vector a strip below, and one place (token,
// dimension) that is followed through all of them. Drawn in the browser; the server is told which place is kept.

const boards = new WeakMap(); // component root -> its state, because this module runs again at each data change

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".tokens");
  let board = boards.get(root);
  if (!board) {
    board = { root, canvas: root.querySelector("canvas"), told: null, place: null, pinned: null };
    boards.set(root, board);
    listen(board);
    board.observer = new ResizeObserver(() => layoutBoard(board));
    board.observer.observe(root);
  }
  board.send = (place) => setTriggerValue("place", place.join());
  receive(board, data);
  return () => {
    clearTimeout(board.settling);
    board.observer.disconnect();
    boards.delete(root);
  };
}

function receive(board, data) {
  const [tokens, dimensions] = [data.hidden.height, data.hidden.width];
  board.data = data;
  board.tokens = tokens;
  board.dimensions = dimensions;
  board.hidden = decodeFloats(data.hidden.values);
  board.names = data.pieces.map(pieceName);
  board.at = new Int32Array(dimensions); // dimension -> column
  data.order.forEach((dimension, column) => (board.at[dimension] = column));
  board.ramp = buildRamp(data.ramp);
  const paint = (values, height) => {
    const sorted = new Float32Array(values.length);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < dimensions; column++) {
        sorted[row * dimensions + column] = values[row * dimensions + data.order[column]];
      }
    }
    return paintCells({ width: dimensions, height, values: sorted }, data.range, board.ramp);
  };
  board.picture = paint(board.hidden, tokens);
  board.readings = data.readings.map((sent) => {
    const values = decodeFloats(sent.values);
    return {
      ...sent,
      unit: "tokens",
      kind: sent.probabilities ? "drawn" : "weight",
      vector: values,
      weight: decodeWeights(sent.weights, tokens),
      odds: sent.probabilities && decodeWeights(sent.probabilities, tokens),
      picture: paint(values, 1),
    };
  });
  const told = data.place.join();
  // an answer to an earlier click may arrive after a later one: the later one counts
  const stale = board.sent && board.sent.place !== told && performance.now() - board.sent.at < 3000;
  if (!stale) {
    board.sent = null;
    if (told !== board.told) board.pinned = data.place;
    board.told = told;
  }
  board.pinned = within(board, board.pinned);
  board.place = board.pinned;
  board.root.setAttribute("aria-label", data.title.replaceAll("\n", ", "));
  writeBoard(board);
  board.width = 0;
  layoutBoard(board);
}

function within(board, [token, dimension]) {
  return [Math.max(0, Math.min(board.tokens - 1, token)), Math.max(0, Math.min(board.dimensions - 1, dimension))];
}

function listen(board) {
  const { canvas } = board;
  canvas.onpointermove = (event) => {
    if (event.pointerType === "mouse") showPlace(board, placeAt(board, event));
  };
  canvas.onpointerleave = () => showPlace(board, board.pinned);
  canvas.onclick = (event) => keep(board, placeAt(board, event));
  canvas.onkeydown = (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const column = Math.max(0, Math.min(board.dimensions - 1, board.at[board.place[1]] + move[1]));
    board.pinned = within(board, [board.place[0] + move[0], board.data.order[column]]);
    showPlace(board, board.pinned);
    announcePlace(board);
    clearTimeout(board.settling); // a held key must not send a message a step
    board.settling = setTimeout(() => keep(board, board.pinned), 400);
  };
}

// The token and dimension under the pointer; below the tokens and beside the heatmap, only one of them moves.
function placeAt(board, event) {
  const { left, top, wide, row, width } = board.sizes;
  const { x, y } = pointerAt(board.canvas, width, event);
  let [token, dimension] = board.place;
  if (y >= top && y < top + row * board.tokens) token = Math.floor((y - top) / row);
  if (x >= left && x < left + wide) dimension = board.data.order[Math.min(board.dimensions - 1, Math.floor(((x - left) / wide) * board.dimensions))];
  return within(board, [token, dimension]);
}

function keep(board, place) {
  clearTimeout(board.settling);
  board.pinned = place;
  showPlace(board, place);
  if (place.join() === board.told) return;
  board.told = place.join();
  board.sent = { place: board.told, at: performance.now() };
  board.send(place);
}

function showPlace(board, place) {
  if (place.join() === board.place.join() && board.root.dataset.place === place.join()) return;
  board.place = place;
  if (board.frame) return;
  board.frame = requestAnimationFrame(() => {
    board.frame = null;
    drawBoard(board);
  });
}
