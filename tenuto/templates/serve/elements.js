// Small pieces of the page that its parts share.

export const $ = (id) => document.getElementById(id);
export const percent = (value) => `${(100 * value).toFixed(value > 0.995 || value < 0.005 ? 1 : 0)}\u00a0%`;
export const seconds = (value) => `${value.toFixed(2)}\u00a0s`;

export const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** Puts a name into its place, without its middle where it is too long: names that go together often begin alike. */
export function fit(place, name) {
  place.title = place.textContent = name;
  for (let left = Math.min(name.length, 32) - 1; left > 3 && place.scrollWidth > place.clientWidth; left -= 1) {
    place.textContent = `${name.slice(0, Math.ceil(left / 2))}…${name.slice(-Math.floor(left / 2))}`;
  }
}

/** A row of a list of facts. */
export function fact(name, value, className = "") {
  const row = document.createElement("div");
  const [term, told] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  told.textContent = value;
  told.className = className;
  row.append(term, told);
  return row;
}
