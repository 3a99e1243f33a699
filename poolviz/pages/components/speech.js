// Who speaks: the sentence once an operator, every token as strong as its share of the weight.

const MOST = 55; // per cent of an operator's colour behind a word: more, and the dark theme's letters miss 4.5 to 1

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".speech");
  const rows = data.rows.map((row) => buildRow(row, data.pieces));
  root.querySelector(".rows").replaceChildren(...rows.map((row) => row.node));
  data.pieces.forEach((piece, token) => {
    for (const row of rows) {
      row.words[token].onpointerenter = () => point(rows, data, token);
      row.words[token].onpointerleave = () => point(rows, data, null);
      row.words[token].onclick = () => point(rows, data, token); // touch has no hover
    }
  });
  let token = null;
  root.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    token = token === null ? 0 : Math.max(0, Math.min(data.pieces.length - 1, token + by));
    point(rows, data, token);
    root.querySelector(".live").textContent = rows.map((row) => `${row.data.title}: ${row.note.textContent}`).join("; ");
  };
  root.onblur = () => point(rows, data, (token = null));
  point(rows, data, null);
}

function percent(share) {
  const size = Math.abs(share);
  if (size === 0) return "0";
  return size < 0.001 ? "≈0" : (100 * share).toFixed(size < 0.0995 ? 1 : 0).replace("-", "−");
}

function buildRow(row, pieces) {
  const node = document.createElement("section");
  const head = document.createElement("h4");
  head.textContent = row.title;
  head.style.setProperty("--operator", row.colour);
  const note = document.createElement("small");
  head.append(note);
  const sentence = document.createElement("p");
  sentence.className = "sentence";
  sentence.dir = "auto";
  const words = writeSentence(sentence, pieces);
  const fair = 1 / Math.max(1, pieces.length);
  words.forEach((word, token) => {
    const share = row.shares[token];
    // pale at an equal share, full at three times that: where all speak alike, nobody stands out
    const strength = Math.round(MOST * Math.max(0, Math.min(1, share / (3 * fair))));
    word.style.background = `color-mix(in srgb, ${row.colour} ${strength}%, transparent)`;
    word.dataset.share = percent(share);
  });
  node.append(head, sentence);
  return { node, note, words, data: row };
}

function point(rows, data, token) {
  for (const { note, words, data: row } of rows) {
    words.forEach((word, i) => word.classList.toggle("here", i === token));
    const shown = token ?? row.shares.indexOf(Math.max(...row.shares));
    const name = pieceName(data.pieces[shown]);
    const won = row.wins[shown] ? `; it has the most weight in ${row.wins[shown]} of ${row.dimensions} dimensions` : "";
    const alike = Math.max(...row.shares) - Math.min(...row.shares) < 1e-6 && row.shares.length > 1;
    const said = `${token === null ? "loudest: " : ""}\u2068${name}\u2069 has ${percent(row.shares[shown])} % ${row.of}${won}`;
    note.textContent = token === null && alike ? "every token alike" : said;
  }
}
