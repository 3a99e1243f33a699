// One operator's arithmetic in numbers and words, for windows and for sentences.

function shortShare(value) {
  if (value === 0 || value === 1) return String(value);
  const size = Math.abs(value);
  const text = size >= 0.005 ? value.toFixed(2) : size >= 1e-4 ? String(+value.toPrecision(1)) : "≈0";
  return text.replace("-", "−");
}

function arithmetic(map, bars, result) {
  const counted = bars.filter((bar) => !bar.padding || bar.weight > 0);
  if (map.kind === "drawn") {
    const drawn = bars.find((bar) => bar.weight > 0);
    if (!drawn) return `nothing to draw from = ${formatNumber(result)}`;
    return `drew ${formatNumber(drawn.value)}, which had p = ${shortShare(drawn.odds)}`;
  }
  const unit = map.unit || "cells";
  const values = counted.map((bar) => formatNumber(bar.value));
  const inSum = (text) => (text.startsWith("−") ? `(${text})` : text);
  const terms = values.map(inSum);
  // Lp scales a window that is clipped by the border up to a full one, as torch does
  const clipped = counted.length < bars.length ? `${bars.length}/${counted.length} · (` : "";
  const weighted = counted.filter((bar) => bar.weight !== 0);
  // where not all can be written, those that count most
  if (weighted.length > MOST_TERMS) weighted.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const power = String(map.p).replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
  const products = weighted.map((bar) => `${shortShare(bar.weight)} · ${inSum(formatNumber(bar.value))}`);
  const parts = {
    x: join(values, ", ", unit),
    sum: join(terms, " + ", unit),
    "sum^p": clipped + join(terms.map((text) => text + power), " + ", unit) + (clipped ? ")" : ""),
    p: String(map.p),
    wx: products.length ? join(products, " + ", unit) : `no ${unit.slice(0, -1)} counts`,
    n: String(counted.length),
    y: formatNumber(result),
  };
  const rounded = weighted.some((bar) => shortShare(bar.weight) !== String(bar.weight));
  const approximately = map.arithmetic.includes("{wx}") && rounded ? map.arithmetic.replace(" = ", " ≈ ") : map.arithmetic;
  return approximately.replace(/\{([^}]+)\}/g, (whole, key) => parts[key] ?? whole);
}

const MOST_TERMS = 9;

// Many cells: the first terms, then how many there are.
function join(texts, mark, unit) {
  return texts.length <= MOST_TERMS ? texts.join(mark) : `${texts.slice(0, 6).join(mark)}${mark}… (${texts.length} ${unit})`;
}
