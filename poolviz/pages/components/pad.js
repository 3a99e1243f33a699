// A drawing pad of 28 x 28 cells, white on black as MNIST is. Sends its 784 levels when a stroke ends.

const pads = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const canvas = parentElement.querySelector("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const hint = parentElement.querySelector(".hint");
  const pad = pads.get(canvas) || { levels: null, last: null, pointer: undefined };
  pads.set(canvas, pad);
  hint.textContent = data.hint;
  if (!pad.levels) {
    pad.levels = Uint8Array.from(data.levels);
    paint();
  }

  function paint() {
    const image = context.createImageData(28, 28);
    pad.levels.forEach((level, i) => image.data.set([level, level, level, 255], 4 * i));
    context.putImageData(image, 0, 0);
    hint.hidden = pad.levels.some((level) => level > 0);
  }

  // A soft round pen of about two cells, the stroke width of MNIST.
  function stamp(x, y) {
    for (let row = Math.floor(y) - 2; row <= y + 2; row++) {
      for (let column = Math.floor(x) - 2; column <= x + 2; column++) {
        if (row < 0 || row > 27 || column < 0 || column > 27) continue;
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        const level = Math.round(255 * Math.max(0, Math.min(1, 1.9 - distance)));
        pad.levels[row * 28 + column] = Math.max(pad.levels[row * 28 + column], level);
      }
    }
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 28, ((event.clientY - box.top) / box.height) * 28];
  }

  function draw(event) {
    const [x, y] = at(event);
    const [fromX, fromY] = pad.last || [x, y];
    const steps = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) * 3));
    for (let i = 0; i <= steps; i++) stamp(fromX + ((x - fromX) * i) / steps, fromY + ((y - fromY) * i) / steps);
    pad.last = [x, y];
    paint();
  }

  // One pointer draws: a second finger or the palm that rests beside a pen is not it, nor a mouse's other buttons.
  canvas.onpointerdown = (event) => {
    if (pad.pointer !== undefined || event.button !== 0) return;
    pad.pointer = event.pointerId;
    canvas.setPointerCapture(event.pointerId);
    draw(event);
  };
  canvas.onpointermove = (event) => {
    if (event.pointerId !== pad.pointer) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) draw(each); // a fast pen reports more than a frame shows
    draw(event);
  };
  canvas.onpointerup = (event) => {
    if (event.pointerId !== pad.pointer) return;
    pad.pointer = undefined;
    pad.last = null;
    setStateValue("levels", Array.from(pad.levels));
  };
  canvas.onpointercancel = canvas.onpointerup; // the system takes the pointer: what is drawn stays
  parentElement.querySelector("button").onclick = () => {
    pad.levels = new Uint8Array(784);
    paint();
    setStateValue("levels", Array.from(pad.levels));
  };
}
