// navigator.clipboard is there on https and on localhost alone; a classroom's server is neither.
async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {} // not allowed: the old way may be
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.activeElement.after(area); // a dialog keeps the focus within itself
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export default function ({ data, parentElement }) {
  const button = parentElement.querySelector(".copy");
  button.onclick = async () => {
    const done = await copied(data.link);
    button.textContent = done ? "Copied" : "Not allowed here: select the link below";
    button.focus();
    setTimeout(() => (button.textContent = "Copy link"), 2500);
  };
}
