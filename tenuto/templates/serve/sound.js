// Sounds in the browser: decoding, the microphone, and the connection that a stream of samples goes over.

/** Mono samples of an audio file at a rate; throws when the browser does not know the format. */
export async function decode(bytes, rate) {
  const audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  const samples = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel += 1) {
    audio.getChannelData(channel).forEach((value, i) => { samples[i] += value; });
  }
  return samples.map((value) => value / audio.numberOfChannels);
}

/** The microphone as it is, without the browser's echo and noise filters: `onsamples` gets pieces of mono samples. */
export async function openMicrophone(onsamples) {
  const media = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("assets/capture.js");
  const capture = new AudioWorkletNode(context, "capture");
  capture.port.onmessage = (message) => onsamples(message.data);
  context.createMediaStreamSource(media).connect(capture);
  await context.resume();
  return {
    rate: context.sampleRate,
    async close() {
      media.getTracks().forEach((track) => track.stop());
      capture.port.onmessage = null;
      await context.close();
    },
  };
}

const PIECE = 32768;
const FULL_BYTES = 1 << 20;

/** A connection to /v1/stream: `onanswer` gets every message of the server. */
export class Stream {
  constructor(rate, key, onanswer) {
    const address = new URL("v1/stream", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(address, key ? ["tenuto", `tenuto.key.${key}`] : []);
    this.ended = new Promise((resolve) => { this.socket.onclose = resolve; });
    this.opened = new Promise((resolve, reject) => {
      this.socket.onerror = () => reject(new Error("The connection to the server was refused or lost."));
      this.socket.onopen = () => {
        this.socket.send(JSON.stringify({ sample_rate_hz: Math.round(rate), format: "f32le" }));
        resolve();
      };
    });
    this.opened.catch(() => {});
    this.socket.onmessage = (message) => onanswer(JSON.parse(message.data));
  }

  send(samples) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(new Float32Array(samples));
  }

  /** All of a recording, no faster than it is heard; returns when every answer is there. */
  async sendAll(samples) {
    await this.opened;
    for (let at = 0; at < samples.length && this.socket.readyState === WebSocket.OPEN; at += PIECE) {
      this.send(samples.subarray(at, at + PIECE));
      while (this.socket.bufferedAmount > FULL_BYTES) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.end();
  }

  async end() {
    await this.opened;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send('{"end": true}');
    await this.ended;
  }
}

/** A 16-bit WAV file of mono samples. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}
