// The answer to a sound, and what a person says that it was in truth.
import { $, fit, percent } from "./elements.js";

export function showAnswer(label, probabilities, { isUnknown, novelty, facts, source, spoken }) {
  $("answer").hidden = false;
  $("source").textContent = source;
  const given = label === "" ? "no label" : label.replaceAll(";", ", ");
  $("label").textContent = given;
  const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]).slice(0, 5);
  $("probability").textContent = isUnknown ? "" : percent(probabilities[label] ?? ranked[0][1]);
  document.querySelector(".said").classList.toggle("unknown", isUnknown);
  const measured = novelty > 1 ? ` (novelty ${novelty.toFixed(2)}, above 1 is unknown)` : "";
  $("remark").textContent = isUnknown ? `Too unlike the training clips to be given a label${measured}.` : "";
  const labels = label.split(";");
  $("labels").replaceChildren(...ranked.map(([name, probability]) => {
    const row = document.createElement("li");
    row.className = labels.includes(name) ? "given" : "";
    for (const [className, text] of [["name", ""], ["track", ""], ["num", percent(probability)]]) {
      const part = document.createElement("span");
      part.className = className;
      part.textContent = text;
      row.append(part);
    }
    const bar = document.createElement("i");
    bar.className = "bar";
    bar.style.setProperty("--a", probability);
    row.children[1].append(bar);
    return row;
  }));
  $("facts").replaceChildren(...facts);
  ranked.forEach(([name], i) => fit($("labels").children[i].firstChild, name));
  $("truth").hidden = true;
  if (spoken) $("spoken").textContent = isUnknown ? "unknown" : `${given}, ${$("probability").textContent}`;
}

/** Lets a person say what a clip was in truth, where the server keeps that. */
export function askForTruth(answer, model) {
  const select = $("truth").querySelector("select");
  select.multiple = model.kind === "many";
  select.required = model.kind === "one";
  select.replaceChildren(...[...model.labels, "unknown"].map((label) => new Option(label === "unknown" ? "something else" : label, label)));
  select.value = answer.label;
  $("truth").dataset.request = answer.request_id;
  $("truth").hidden = !model.takes_feedback;
  $("thanks").textContent = "";
}
