"use strict";
// Small play buttons in the place of the browser's wide controls, which stay where scripts are off.
(() => {
  const players = [];
  const show = (button, playing) => {
    button.dataset.playing = playing;
    button.setAttribute("aria-label", (playing ? "Pause " : "Play ") + button.dataset.name);
  };
  for (const audio of document.querySelectorAll(".player audio")) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = audio.getAttribute("aria-label");
    audio.controls = false;
    audio.before(button);
    show(button, false);
    players.push(audio);
    button.addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
    audio.addEventListener("play", () => {
      players.filter((other) => other !== audio).forEach((other) => other.pause());
      show(button, true);
    });
    audio.addEventListener("pause", () => show(button, false));
    audio.addEventListener("ended", () => {
      audio.currentTime = 0;
      show(button, false);
    });
  }
  // Paper has nothing to unfold.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
  });
})();
