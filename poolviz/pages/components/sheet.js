// A contact sheet of channels: each a button with a small heatmap, so that keys and screen readers reach it too.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".sheet");
  const values = decodeFloats(data.values);
  const ramp = buildRamp(data.ramp);
  const cells = data.width * data.height;
  const buttons = Array.from({ length: data.count }, (_, channel) => {
    const part = values.subarray(channel * cells, (channel + 1) * cells);
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `Channel ${channel}`);
    button.setAttribute("aria-pressed", String(channel === data.chosen));
    button.append(paintCells({ width: data.width, height: data.height, values: part }, data.range, ramp), String(channel));
    button.onclick = () => setTriggerValue("channel", channel);
    return button;
  });
  root.replaceChildren(...buttons);
}
