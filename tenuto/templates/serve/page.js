import { askForTruth, showAnswer } from "./answer.js";
import { rendered } from "./card.js";
import { $, counted, fact, percent, seconds } from "./elements.js";
import { Picture } from "./picture.js";
import { Stream, decode, openMicrophone, wav } from "./sound.js";
import { draw, point } from "./timeline.js";

const LIVE_SECONDS = 20;
const MOST_RECORDED_SECONDS = 120;

let model = null;
let key = "";
let retry = null;
let view = null; // what is drawn: picture, windows, events, hop, from, to, cursor
let recording = null; // what the microphone is doing
let turn = 0; // the sound on show; answers for one before it are too late
let stream = null; // the connection that the sound on show goes over

function say(text, isBad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", isBad);
}

/** The JSON of an endpoint; throws what the server says is wrong. */
async function ask(path, options = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch(path, { ...options, headers: { ...headers, ...options.headers } });
  const told = await response.json().catch(() => ({}));
  if (response.ok) return told;
  if (response.status === 401) {
    $("key").hidden = false;
    $("key").querySelector("input").focus();
    throw new Error(key ? "The server does not know this key." : "This server wants an API key.");
  }
  throw new Error(told.detail ?? `The server answered ${response.status}.`);
}

async function showModel() {
  model = await ask("v1/model");
  const { name, version, alias, artefact } = model.model;
  const which = version === "bundle" ? name : `${name}, version ${version}`;
  $("model").textContent = alias ? `${which} @${alias}` : which;
  document.title = `${name} · Tenuto`;
  $("model-facts").replaceChildren(
    fact("Model", name),
    fact("Version", alias ? `${version} (@${alias})` : version),
    fact("Served as", `${artefact}, ${model.size_mb.toFixed(1)} MB`),
    fact("Labels", model.labels.length > 20 ? `${model.labels.length}` : model.labels.join(", ")),
    fact("Hears", `up to ${model.max_seconds} s of a clip, at ${model.sample_rate_hz / 1000} kHz`),
    ...Object.entries(model.figures).filter(([figure]) => figure === "p50_ms").map(([, ms]) => fact("Median latency when exported", `${ms.toFixed(2)} ms`)),
  );
  $("card").hidden = !model.card;
  if (model.card) $("card").querySelector("div").replaceChildren(...rendered(model.card));
}

async function sayTruth() {
  const label = [...$("truth").querySelector("select").selectedOptions].map((option) => option.value).join(";");
  const body = JSON.stringify({ request_id: $("truth").dataset.request, label });
  try {
    await ask("v1/feedback", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    $("thanks").textContent = "Noted.";
  } catch (error) {
    $("thanks").textContent = error.message;
  }
}

function answered(version) {
  if (model && version.version !== model.model.version) showModel().catch((error) => say(error.message, true));
  return version.version === "bundle" ? version.name : `version ${version.version}`;
}

async function classify(blob, name, of) {
  const form = new FormData();
  form.append("file", blob, name);
  const started = performance.now();
  const { answers: [answer] } = await ask("v1/classify", { method: "POST", body: form });
  const took = performance.now() - started;
  if (of !== turn) return;
  const isCut = answer.duration_seconds > model.max_seconds;
  showAnswer(answer.label, answer.probabilities, {
    isUnknown: answer.is_unknown,
    novelty: answer.novelty,
    source: isCut ? `${name}, the middle ${model.max_seconds} s as one clip` : `${name}, as one clip`,
    spoken: true,
    facts: [
      fact("Length", seconds(answer.duration_seconds)),
      fact("Answered in", `${answer.latency_ms.toFixed(1)} ms`),
      fact("Round trip", `${took.toFixed(0)} ms`),
      fact("Model", answered(answer.model)),
      fact("Request", answer.request_id.slice(0, 12), "id"),
    ],
  });
  askForTruth(answer, model);
}

/** Another sound is on show from now on, and nothing of the one before. */
async function begin() {
  if (recording) await stopRecording();
  stream?.socket.close();
  turn += 1;
  view = null;
  $("player").pause();
  $("answer").hidden = $("time").hidden = true;
  return turn;
}

function newView(rate, length = 0) {
  view = { turn, picture: new Picture(rate, Math.min(model.sample_rate_hz, rate) / 2, length), windows: [], events: [], hop: 0.25, from: 0, to: 1, cursor: null, last: -1 };
  $("lanes").replaceChildren();
  $("time").hidden = false;
  $("heard").hidden = true;
  $("player").hidden = true;
  $("player").removeAttribute("src");
  $("windows").textContent = "";
  return view;
}

/** Takes in one message of the stream that a view is of. */
function hear(message, of) {
  if (message.type === "error") throw new Error(message.detail);
  if (message.type === "ready") {
    of.hop = message.hop_seconds;
    $("windows").textContent = `Windows of ${seconds(message.window_seconds)}, one every ${seconds(message.hop_seconds)}. Filled: smoothed, grey where unknown; line: each window; green: events.`;
  } else if (message.type === "window") {
    of.windows.push(message);
  }
  for (const event of message.events ?? []) {
    if (event.kind === "begin") of.events.push({ label: event.label, from: event.at_seconds, to: null, probability: event.probability });
    else Object.assign(of.events.findLast((one) => one.label === event.label), { to: event.at_seconds, probability: event.probability });
  }
}

function redraw() {
  draw(view, model.labels, recording !== null);
}

function moveTo(place) {
  if (!view || recording) return;
  view.cursor = Math.max(view.from, Math.min(view.to, place));
  if ($("player").src) $("player").currentTime = view.cursor;
  point(view, recording !== null);
}

/** Everything of a sound that is over: its whole length, its events in words, and the sound to be played. */
function settle(of, blob) {
  Object.assign(of, { from: 0, to: Math.max(of.picture.seconds, 0.1) });
  $("player").src = URL.createObjectURL(blob);
  $("player").hidden = false;
  $("heard").hidden = !of.events.length;
  $("heard").querySelector("summary").textContent = counted(of.events.length, "event");
  $("heard").querySelector("tbody").replaceChildren(...of.events.map((event) => {
    const row = document.createElement("tr");
    for (const [text, className] of [[event.label, ""], [seconds(event.from), "num"], [seconds(event.to ?? of.to), "num"], [percent(event.probability), "num"]]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      cell.className = className;
      row.append(cell);
    }
    return row;
  }));
  redraw();
}

/** Answers of a stream go to a view, until there is another one. */
function streamTo(of, rate) {
  stream = new Stream(rate, key, (message) => {
    if (of.turn !== turn) return;
    try {
      hear(message, of);
    } catch (error) {
      say(error.message, true);
    }
  });
  return stream;
}

async function open(file) {
  retry = () => open(file);
  const of = await begin();
  say(`Listening to ${file.name} …`);
  try {
    if (!model) await showModel();
    const [samples] = await Promise.all([
      file.arrayBuffer().then((bytes) => decode(bytes, model.sample_rate_hz)).catch(() => null),
      classify(file, file.name, of),
    ]);
    if (of !== turn) return;
    if (!samples) {
      $("time").hidden = true;
      say(`This browser cannot decode ${file.name}, so that only the server's answer is shown.`);
      return;
    }
    const drawn = newView(model.sample_rate_hz, samples.length / model.sample_rate_hz);
    drawn.picture.push(samples);
    drawn.picture.finish();
    settle(drawn, file);
    const progress = setInterval(() => {
      if (of !== turn || !drawn.windows.length) return;
      say(`Listening to ${file.name} … ${percent(drawn.windows.at(-1).end_seconds / drawn.picture.seconds)}`);
      redraw();
    }, 500);
    await streamTo(drawn, model.sample_rate_hz).sendAll(samples).finally(() => clearInterval(progress));
    if (of !== turn) return;
    settle(drawn, file);
    if (!$("status").classList.contains("bad")) say(`${file.name} was heard: ${counted(drawn.windows.length, "window")}.`);
  } catch (error) {
    if (of === turn) say(error.message, true);
  }
}

async function startRecording() {
  retry = startRecording;
  await begin();
  say("Asking for the microphone …");
  const pieces = [];
  try {
    if (!model) await showModel();
    if (!navigator.mediaDevices) throw new Error("Browsers give the microphone to pages over https or from localhost only.");
    const microphone = await openMicrophone((samples) => {
      if (!recording) return;
      pieces.push(samples);
      recording.view.picture.push(samples);
      recording.stream.send(samples);
      if (recording.view.picture.seconds > MOST_RECORDED_SECONDS) stopRecording();
    });
    const of = newView(microphone.rate);
    const connection = streamTo(of, microphone.rate);
    await connection.opened.catch(async (error) => {
      await microphone.close();
      throw error;
    });
    recording = { microphone, view: of, stream: connection, pieces };
    connection.ended.then(() => {
      if (recording?.stream !== connection) return;
      if (!$("status").classList.contains("bad")) say("The connection to the server was lost.", true);
      stopRecording();
    });
    document.body.classList.add("live");
    $("microphone").setAttribute("aria-pressed", "true");
    $("microphone").querySelector("span").textContent = "Stop";
    say("Listening …");
    requestAnimationFrame(live);
  } catch (error) {
    say(error.name === "NotAllowedError" ? "The microphone was not allowed." : error.name === "NotFoundError" ? "There is no microphone." : error.message, true);
  }
}

function live() {
  if (!recording) return;
  const of = recording.view;
  const now = of.picture.seconds;
  Object.assign(of, { from: Math.max(0, now - LIVE_SECONDS), to: Math.max(now, LIVE_SECONDS) });
  redraw();
  const answer = of.windows.at(-1);
  if (answer && answer.window !== of.last) {
    of.last = answer.window;
    showAnswer(answer.smoothed_label, answer.smoothed, {
      isUnknown: answer.smoothed_label === "unknown",
      novelty: answer.novelty,
      source: "The microphone, now",
      spoken: answer.events.length > 0,
      facts: [
        fact("Since", seconds(now)),
        fact("Answered in", `${answer.latency_ms.toFixed(1)} ms`),
        fact("Model", answered(answer.model)),
        fact("Request", answer.request_id.slice(0, 12), "id"),
      ],
    });
  }
  setTimeout(() => requestAnimationFrame(live), 50);
}

async function stopRecording() {
  const { microphone, view: of, stream: connection, pieces } = recording;
  recording = null;
  document.body.classList.remove("live");
  $("microphone").setAttribute("aria-pressed", "false");
  $("microphone").querySelector("span").textContent = "Use the microphone";
  await microphone.close();
  await connection.end();
  if (of.turn !== turn) return;
  const samples = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  pieces.reduce((at, piece) => (samples.set(piece, at), at + piece.length), 0);
  of.picture.finish();
  const blob = wav(samples, microphone.rate);
  settle(of, blob);
  if ($("status").classList.contains("bad")) return;
  say(`${seconds(of.picture.seconds)} recorded: ${counted(of.windows.length, "window")}.`);
  if (samples.length && of.picture.seconds <= model.max_seconds) {
    await classify(blob, "The recording", of.turn).catch((error) => say(error.message, true));
  }
}

$("file").addEventListener("change", () => {
  if ($("file").files.length) open($("file").files[0]);
  $("file").value = "";
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
});
$("microphone").addEventListener("click", async () => {
  $("microphone").disabled = true;
  await (recording ? stopRecording() : startRecording());
  $("microphone").disabled = false;
  $("microphone").focus();
});
$("truth").addEventListener("submit", (event) => {
  event.preventDefault();
  sayTruth();
});
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").querySelector("input").value;
  $("key").hidden = true;
  say("");
  (retry ?? showModel)()?.catch?.((error) => say(error.message, true));
});
$("timeline").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
  if (!view || (!step && event.key !== "Home" && event.key !== "End")) return;
  event.preventDefault();
  if (step) moveTo((view.cursor ?? 0) + step * view.hop);
  else moveTo(event.key === "Home" ? view.from : view.to);
});
$("timeline").addEventListener("pointermove", (event) => {
  if (event.buttons) $("timeline").dispatchEvent(new PointerEvent("pointerdown", event));
});
$("timeline").addEventListener("pointerdown", (event) => {
  if (!view) return;
  const { left, width } = $("wave").getBoundingClientRect();
  moveTo(view.from + ((event.clientX - left) / width) * (view.to - view.from));
});
$("player").addEventListener("timeupdate", () => {
  if (!view || $("player").paused || recording) return;
  view.cursor = $("player").currentTime;
  point(view, recording !== null);
});
new ResizeObserver(() => view && redraw()).observe($("timeline"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view && redraw());

showModel().catch((error) => {
  $("model").textContent = $("key").hidden ? "no model" : "asks for an API key";
  say(error.message, true);
});
