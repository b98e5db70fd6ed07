// A sound along time: its pictures, a lane for each label, and a cursor.
import { $, fit, percent, seconds } from "./elements.js";
import { drawLane, drawSpectrogram, drawWave, marks } from "./picture.js";

const ALL_LANES = 12;
const FEW_LANES = 8;
const LEAST_IN_LANE = 0.1; // of a smoothed probability, for a lane when there are many labels

function lanes({ windows }, labels) {
  if (labels.length <= ALL_LANES) return labels;
  const most = new Map(labels.map((label) => [label, 0]));
  for (const answer of windows) {
    for (const label of labels) most.set(label, Math.max(most.get(label), answer.smoothed[label]));
  }
  const likely = [...most].filter(([, probability]) => probability >= LEAST_IN_LANE).sort((a, b) => b[1] - a[1]);
  const shown = new Set(likely.slice(0, FEW_LANES).map(([label]) => label));
  return labels.filter((label) => shown.has(label));
}

/** Draws what a view shows of a sound. */
export function draw(view, labels, isLive) {
  const { picture, windows, events, from, to } = view;
  drawWave($("wave"), picture, from, to);
  drawSpectrogram($("spectrogram"), picture, from, to);
  const shown = lanes(view, labels);
  if ([...$("lanes").children].filter((part) => part.tagName === "SPAN").map((part) => part.title).join("\n") !== shown.join("\n")) {
    $("lanes").replaceChildren(...shown.flatMap((label) => {
      const [name, canvas] = [document.createElement("span"), document.createElement("canvas")];
      name.className = "gutter";
      name.title = label;
      canvas.className = "lane";
      canvas.dataset.label = label;
      return [name, canvas];
    }));
    $("lanes").querySelectorAll("span").forEach((name) => fit(name, name.title));
  }
  for (const canvas of $("lanes").querySelectorAll("canvas")) {
    drawLane(canvas, canvas.dataset.label, windows, events, from, to);
  }
  $("axis").replaceChildren(...marks(from, to, Math.max(3, $("axis").clientWidth / 70)).map((mark) => {
    const text = document.createElement("span");
    text.textContent = `${Number(mark.toFixed(1))} s`;
    const place = (mark - from) / (to - from);
    text.style.left = `${100 * place}%`;
    text.className = place < 0.03 ? "first" : place > 0.97 ? "last" : "";
    return text;
  }));
  const [top, bottom] = [document.createElement("span"), document.createElement("span")];
  top.textContent = `${Number((picture.topHz / 1000).toFixed(1))} kHz`;
  bottom.textContent = "0";
  $("band").replaceChildren(top, bottom);
  point(view, isLive);
}

/** Puts the cursor where it is, and says what was heard there. */
export function point(view, isLive) {
  const { cursor, from, to, windows } = view;
  const slider = $("timeline");
  slider.setAttribute("aria-valuemax", to.toFixed(2));
  slider.setAttribute("aria-valuenow", (cursor ?? to).toFixed(2));
  $("cursor").hidden = cursor === null;
  const distance = (answer) => Math.abs(answer.middle_seconds - cursor);
  const nearest = cursor === null || !windows.length ? null : windows.reduce((a, b) => (distance(b) < distance(a) ? b : a));
  let text = windows.length && !isLive ? "Arrow keys or a tap show what was heard at a place." : "";
  if (nearest) {
    const ranked = Object.entries(nearest.smoothed).sort((a, b) => b[1] - a[1]).slice(0, 3);
    text = `${seconds(cursor)}: ${nearest.smoothed_label === "unknown" ? "unknown; " : ""}${ranked.map(([label, p]) => `${label} (${percent(p)})`).join(", ")}`;
  }
  $("readout").textContent = text;
  slider.setAttribute("aria-valuetext", text);
  if (cursor !== null) {
    const wave = $("wave");
    $("cursor").style.left = `${wave.offsetLeft + (wave.clientWidth * (cursor - from)) / (to - from)}px`;
  }
}
