// The label queue: one recording at a time, a decision by key, click or touch, saved before the next is shown.

import { Picture, drawSpectrogram, drawWave } from "./picture.js";
import { decode } from "./sound.js";

const RATE = 16000;
const KEYS = "1234567890abcdefghijklmopqrtvwxyz"; // n, s and u are none, skip and unsure
const $ = (id) => document.getElementById(id);

let queue = null;
let at = 0;
let picture = null;
let shown = null;
let saving = false;

async function ask(path, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options || {});
  if (response.ok) return response;
  const { detail } = await response.json().catch(() => ({}));
  throw new Error(typeof detail === "string" ? detail : `The server says ${response.status}.`);
}

function complain(error) {
  const lost = error instanceof TypeError;
  $("problem").textContent = lost ? "The server does not answer; is `tenuto label-queue review` running?" : error.message;
  $("problem").hidden = false;
}

function button(text, key, onclick) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(text);
  if (key) made.append(" ", Object.assign(document.createElement("kbd"), { textContent: key.toUpperCase() }));
  made.onclick = onclick;
  return made;
}

/** The keys of the labels: a label of one letter or digit, such as those of digits, is its own key. */
function keysOf(labels) {
  const own = labels.map((label) => label.toLowerCase());
  const isOwn = own.every((key) => KEYS.includes(key) && key.length === 1) && new Set(own).size === own.length;
  return isOwn ? own : [...KEYS];
}

const chosen = () => [...$("classes").querySelectorAll('[aria-pressed="true"]')].map((one) => one.dataset.label);

function choose(label) {
  if (queue.kind === "one") return decide("labelled", label);
  const one = [...$("classes").children].find((child) => child.dataset.label === label);
  one.setAttribute("aria-pressed", one.getAttribute("aria-pressed") !== "true");
  return null;
}

/** Saves a decision of the recording that is shown, and goes on to the next that has none. */
async function decide(decision, label = "") {
  if (saving || !shown) return;
  saving = true;
  const groups = Object.fromEntries([...$("groups").querySelectorAll("input")].map((one) => [one.name, one.value]));
  try {
    const { request_id, position } = shown;
    const kept = await ask("decision", { request_id, position, decision, label, groups });
    queue.items[at] = await kept.json();
    $("problem").hidden = true;
    await show(next());
  } catch (error) {
    complain(error);
  } finally {
    saving = false;
  }
}

function next() {
  const open = (place) => queue.items[place].decision === "";
  const places = queue.items.map((_, place) => (at + 1 + place) % queue.items.length);
  return places.find(open) ?? -1;
}

async function show(place) {
  count();
  $("done").hidden = place >= 0;
  $("clip").hidden = place < 0;
  if (place < 0) {
    $("title").textContent = "Nothing left to label";
    shown = null;
    $("player").pause();
    return;
  }
  at = place;
  shown = queue.items[at];
  count();
  $("title").textContent = "What is it?";
  const when = new Date(shown.at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const length = shown.duration_seconds === null ? "" : `${shown.duration_seconds.toFixed(2)} s, `;
  const why = { uncertain: "the model wavers", novel: "unlike the training clips" }[shown.reason] || shown.reason;
  $("facts").textContent = `${length}heard ${when}; in the queue because: ${why}`;
  $("answer").open = false;
  $("predicted").textContent = `${shown.predicted || "no label"}, ${shown.probability.toFixed(2)} (version ${shown.version})`;
  const labels = shown.decision === "labelled" || shown.decision === "accepted" ? shown.label.split(";") : [];
  for (const one of $("classes").children) one.setAttribute("aria-pressed", labels.includes(one.dataset.label));
  for (const input of $("groups").querySelectorAll("input")) input.value = shown.groups[input.name] || "";
  for (const [id, decision] of [["skip", "skipped"], ["unsure", "unsure"]]) {
    $(id).setAttribute("aria-pressed", shown.decision === decision);
  }
  $("none").setAttribute("aria-pressed", labels.includes(queue.unknown));
  await listen(shown);
}

async function listen(item) {
  const address = `recording?${new URLSearchParams({ request_id: item.request_id, position: item.position })}`;
  $("player").src = address;
  $("player").play().catch(() => {}); // before the first key or click, browsers refuse to play by themselves
  picture = null;
  try {
    const samples = await decode(await (await ask(address)).arrayBuffer(), RATE);
    if (item.request_id !== shown?.request_id || item.position !== shown?.position) return;
    picture = new Picture(RATE, RATE / 2);
    picture.push(samples);
    picture.finish();
    draw();
  } catch (error) {
    complain(error);
  }
}

function draw() {
  if (!picture) return;
  drawWave($("wave"), picture, 0, picture.seconds);
  drawSpectrogram($("spectrogram"), picture, 0, picture.seconds);
}

function follow() {
  const player = $("player");
  $("cursor").hidden = !(player.duration > 0) || player.paused;
  $("cursor").style.left = `${(100 * player.currentTime) / (player.duration || 1)}%`;
  if (!player.paused) requestAnimationFrame(follow);
}

function count() {
  const decided = queue.items.filter((item) => item.decision !== "").length;
  $("count").textContent = `${decided} of ${queue.items.length} decided`;
  [...$("strip").children].forEach((one, place) => {
    one.className = queue.items[place].decision + (place === at && !$("clip").hidden ? " now" : "");
  });
}

function onkey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" || !queue) return;
  const key = event.key.toLowerCase();
  const label = queue.classes[queue.keys.indexOf(key)];
  const moves = {
    s: () => decide("skipped"),
    u: () => decide("unsure"),
    n: () => decide("labelled", queue.unknown),
    arrowleft: () => show(Math.max(0, at - 1)),
    arrowright: () => show(Math.min(queue.items.length - 1, at + 1)),
    " ": () => { $("player").currentTime = 0; $("player").play(); },
  };
  if (key === "enter" && event.target.tagName !== "BUTTON" && queue.kind === "many") decide("labelled", chosen().join(";"));
  else if (moves[key]) moves[key]();
  else if (label !== undefined) choose(label);
  else return;
  event.preventDefault();
}

function groupInput([name, values]) {
  const label = document.createElement("label");
  const list = Object.assign(document.createElement("datalist"), { id: `known-${name}` });
  list.append(...values.map((value) => Object.assign(document.createElement("option"), { value })));
  const input = Object.assign(document.createElement("input"), { name, autocomplete: "off", placeholder: "not known" });
  input.setAttribute("list", list.id);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") input.blur(); // the keys of the labels work again
  });
  label.append(name, input, list);
  return label;
}

async function start() {
  queue = await (await ask("queue")).json();
  queue.keys = keysOf(queue.classes);
  $("who").textContent = `as ${queue.reviewer}`;
  $("classes").append(...queue.classes.map((label, place) => {
    const made = button(label, queue.keys[place], () => choose(label));
    made.dataset.label = label;
    return made;
  }));
  $("groups").append(...Object.entries(queue.groups).map(groupInput));
  $("strip").append(...queue.items.map(() => document.createElement("li")));
  $("save").hidden = queue.kind === "one";
  $("save").onclick = () => decide("labelled", chosen().join(";"));
  $("none").onclick = () => decide("labelled", queue.unknown);
  $("unsure").onclick = () => decide("unsure");
  $("skip").onclick = () => decide("skipped");
  $("back").onclick = () => show(Math.max(0, at - 1));
  $("player").onplay = follow;
  document.addEventListener("keydown", onkey);
  new ResizeObserver(draw).observe($("wave"));
  await show(queue.items.findIndex((item) => item.decision === ""));
}

start().catch(complain);
