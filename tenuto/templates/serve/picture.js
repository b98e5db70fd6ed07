// Pictures of a sound along time: its wave, its spectrogram, and the probabilities of its labels.

const FFT = 512;
const BINS = 128;
const COLUMNS_PER_SECOND = 100;
const MOST_COLUMNS = 2000;
const FLOOR_DB = -90;
const RANGE_DB = 80;

const COSINES = Float32Array.from({ length: FFT / 2 }, (_, i) => Math.cos((-2 * Math.PI * i) / FFT));
const SINES = Float32Array.from({ length: FFT / 2 }, (_, i) => Math.sin((-2 * Math.PI * i) / FFT));
const HANN = Float32Array.from({ length: FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT));

/** Powers of the first FFT / 2 frequencies of FFT samples; radix 2, in place. */
function powers(samples) {
  const real = new Float32Array(FFT);
  const imaginary = new Float32Array(FFT);
  for (let i = 0, j = 0; i < FFT; i += 1) {
    real[j] = samples[i] * HANN[i];
    let bit = FFT >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
  }
  for (let size = 2; size <= FFT; size *= 2) {
    for (let k = 0; k < size / 2; k += 1) {
      const [cosine, sine] = [COSINES[(k * FFT) / size], SINES[(k * FFT) / size]];
      for (let a = k; a < FFT; a += size) {
        const b = a + size / 2;
        const turnedReal = real[b] * cosine - imaginary[b] * sine;
        const turnedImaginary = real[b] * sine + imaginary[b] * cosine;
        real[b] = real[a] - turnedReal;
        imaginary[b] = imaginary[a] - turnedImaginary;
        real[a] += turnedReal;
        imaginary[a] += turnedImaginary;
      }
    }
  }
  return real.subarray(0, FFT / 2).map((value, i) => value * value + imaginary[i] * imaginary[i]);
}

/** What is drawn of a sound, which may still go on: a column for every hundredth of a second, or fewer if it is long. */
export class Picture {
  constructor(rate, topHz, seconds = 0) {
    Object.assign(this, { rate, topHz });
    this.perSecond = Math.min(COLUMNS_PER_SECOND, (2 * MOST_COLUMNS) / Math.max(seconds, 1));
    this.bins = Math.max(2, Math.min(FFT / 2, Math.round((FFT * topHz) / rate)));
    this.step = rate / this.perSecond;
    this.heard = Math.max(FFT, Math.ceil(this.step));
    this.lows = [];
    this.highs = [];
    this.levels = [];
    this.rest = new Float32Array(0);
    this.restFrom = 0;
    this.samples = 0;
  }

  get seconds() { return this.samples / this.rate; }

  push(samples) {
    const joined = new Float32Array(this.rest.length + samples.length);
    joined.set(this.rest);
    joined.set(samples, this.rest.length);
    this.samples += samples.length;
    let at = this.column - this.restFrom;
    for (; at + this.heard <= joined.length; at = this.column - this.restFrom) this.draw(joined.subarray(at, at + this.heard));
    const kept = Math.min(Math.max(at, 0), joined.length);
    this.rest = joined.slice(kept);
    this.restFrom += kept;
  }

  /** The columns that are left at the end. */
  finish() {
    while (this.column < this.samples) {
      const last = new Float32Array(this.heard);
      last.set(this.rest.subarray(this.column - this.restFrom).subarray(0, this.heard));
      this.draw(last);
    }
  }

  get column() { return Math.round(this.levels.length * this.step); }

  draw(samples) {
    let [low, high] = [0, 0];
    for (let i = 0; i < this.step; i += 1) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    const found = powers(samples);
    const column = new Uint8Array(BINS);
    for (let bin = 0; bin < BINS; bin += 1) {
      const first = Math.floor((bin * this.bins) / BINS);
      const end = Math.max(first + 1, Math.floor(((bin + 1) * this.bins) / BINS));
      let most = 0;
      for (let i = first; i < end; i += 1) most = Math.max(most, found[i]);
      const db = 10 * Math.log10(most / (FFT * FFT / 16) + 1e-12);
      column[bin] = Math.max(0, Math.min(255, (255 * (db - FLOOR_DB)) / RANGE_DB));
    }
    this.lows.push(low);
    this.highs.push(high);
    this.levels.push(column);
  }
}

/** A canvas's context, with as many pixels as it has on the screen. */
function fitted(canvas) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function drawWave(canvas, picture, from, to) {
  const [context, width, height] = fitted(canvas);
  context.fillStyle = colour("--soft");
  const [first, columns] = [from * picture.perSecond, (to - from) * picture.perSecond];
  for (let x = 0; x < width; x += 1) {
    let [low, high] = [0, 0];
    const start = Math.max(0, Math.floor(first + (x / width) * columns));
    const end = Math.max(start + 1, Math.floor(first + ((x + 1) / width) * columns));
    if (start >= picture.lows.length) break;
    for (let i = start; i < Math.min(end, picture.lows.length); i += 1) {
      low = Math.min(low, picture.lows[i]);
      high = Math.max(high, picture.highs[i]);
    }
    const thin = Math.max(1, ((high - low) * height) / 2);
    context.fillRect(x, height / 2 - (Math.min(high, 1) * height) / 2, 1, Math.min(thin, height));
  }
}

// black, violet, orange, pale yellow: the stops of an even ramp in lightness
const STOPS = [[13, 11, 22], [78, 22, 109], [165, 44, 96], [229, 92, 48], [251, 180, 26], [250, 252, 190]];
const RAMP = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[below].map((value, i) => value + (place - below) * (STOPS[below + 1][i] - value));
});

export function drawSpectrogram(canvas, picture, from, to) {
  const [context, width, height] = fitted(canvas);
  const first = Math.max(0, Math.floor(from * picture.perSecond));
  const span = Math.max(1, Math.round((to - from) * picture.perSecond));
  const step = Math.ceil(span / MOST_COLUMNS);
  const columns = Math.floor(Math.min(picture.levels.length - first, span) / step);
  if (columns < 1) return;
  const image = new ImageData(columns, BINS);
  for (let x = 0; x < columns; x += 1) {
    for (let bin = 0; bin < BINS; bin += 1) {
      let level = 0;
      for (let i = 0; i < step; i += 1) level = Math.max(level, picture.levels[first + x * step + i][bin]);
      image.data.set([...RAMP[level], 255], 4 * ((BINS - 1 - bin) * columns + x));
    }
  }
  const small = Object.assign(document.createElement("canvas"), { width: columns, height: BINS });
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, (width * columns * step) / span, height);
}

/** Where a window's smoothed probabilities count from: halfway between its middle and that of the one before it. */
function edge(windows, i) {
  if (i === 0) return windows[0].begin_seconds;
  if (i === windows.length) return windows[i - 1].end_seconds;
  return (windows[i - 1].middle_seconds + windows[i].middle_seconds) / 2;
}

/** One label along time: its smoothed probability filled, that of each window as a line, its events underlined. */
export function drawLane(canvas, label, windows, events, from, to) {
  const [context, width, height] = fitted(canvas);
  const x = (seconds) => ((seconds - from) / (to - from)) * width;
  const [known, unknown] = [colour("--candidate"), colour("--majority")];
  windows.forEach((answer, i) => {
    const [left, right] = [Math.floor(x(edge(windows, i))), Math.floor(x(edge(windows, i + 1)))];
    if (right < 0 || left > width) return;
    const tall = answer.smoothed[label] * height;
    context.fillStyle = answer.smoothed_label === "unknown" ? unknown : known;
    context.globalAlpha = 0.25 + 0.75 * answer.smoothed[label];
    context.fillRect(left, height - tall, Math.max(1, right - left), tall);
  });
  // where windows are closer than a few pixels, the line would hide the rest
  const isDense = windows.length && width / ((to - from) / (windows.at(-1).end_seconds / windows.length)) < 4;
  context.globalAlpha = isDense ? 0 : 0.6;
  context.strokeStyle = colour("--ink");
  context.lineWidth = window.devicePixelRatio || 1;
  context.beginPath();
  for (const answer of windows) {
    context.lineTo(x((answer.begin_seconds + answer.end_seconds) / 2), 1 + (1 - answer.probabilities[label]) * (height - 2));
  }
  context.stroke();
  context.globalAlpha = 1;
  context.fillStyle = colour("--good");
  for (const event of events) {
    if (event.label !== label) continue;
    const [left, right] = [x(event.from), x(event.to ?? windows.at(-1).end_seconds)];
    context.fillRect(left, 0.86 * height, Math.max(2, right - left), 0.14 * height);
  }
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600];

/** Round times for the marks of an axis, at most so many. */
export function marks(from, to, most) {
  const step = STEPS.find((one) => (to - from) / one <= most) ?? STEPS.at(-1);
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(to / step + 1e-9) - first + 1) }, (_, i) => (first + i) * step);
}
