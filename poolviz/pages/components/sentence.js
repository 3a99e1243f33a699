// A sentence written again, piece by piece: each token an element. Text goes through textContent only.

function pieceName(piece) {
  return piece.kind === "inside" ? `##${piece.text}` : piece.text || piece.piece;
}

// Fills `holder` and returns one element a piece.
function writeSentence(holder, pieces) {
  holder.replaceChildren();
  return pieces.map((piece) => {
    const word = document.createElement("span");
    word.className = `piece ${piece.kind}`;
    word.textContent = piece.text || piece.piece;
    if (piece.kind === "special" || piece.kind === "padding") word.dir = "ltr"; // else [CLS] would decide the direction
    if (piece.gap && !/^\s*$/.test(piece.gap)) holder.append(piece.gap.trim()); // what the encoder does not see
    if (piece.kind !== "inside" && piece.gap) holder.append(" ");
    if (piece.kind === "special" || piece.kind === "padding") holder.append(" ");
    holder.append(word);
    if (piece.kind === "special") holder.append(" ");
    return word;
  });
}
