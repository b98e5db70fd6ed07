// The Markdown that model cards are made of, as elements: text from a card is never markup of this page.

const INLINE = /`([^`]+)`|\*\*((?:\\.|[^*])+)\*\*|\*((?:\\.|[^*\s])(?:\\.|[^*])*)\*|\[((?:\\.|[^\]])*)\]\((https?:[^)\s]+)\)|\\([!-/:-@[-`{-~])/;

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function inline(text) {
  const parts = [];
  let rest = text;
  for (let found = INLINE.exec(rest); found; found = INLINE.exec(rest)) {
    const [whole, code, strong, weak, name, address, escaped] = found;
    parts.push(rest.slice(0, found.index));
    if (code !== undefined) parts.push(element("code", code));
    else if (strong !== undefined) parts.push(element("b", ...inline(strong)));
    else if (weak !== undefined) parts.push(element("em", ...inline(weak)));
    else if (address !== undefined) parts.push(Object.assign(element("a", ...inline(name)), { href: address, rel: "noreferrer" }));
    else parts.push(escaped);
    rest = rest.slice(found.index + whole.length);
  }
  return [...parts, rest];
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
}

function table(lines) {
  const sides = cells(lines[1]).map((rule) => (rule.endsWith(":") ? "num" : ""));
  const row = (line, tag) => element("tr", ...cells(line).map((cell, i) => (
    Object.assign(element(tag, ...inline(cell)), { className: sides[i] ?? "" }))));
  const head = element("thead", row(lines[0], "th"));
  const body = element("tbody", ...lines.slice(2).map((line) => row(line, "td")));
  return Object.assign(element("div", element("table", head, body)), { className: "table" });
}

/** The elements of a card. */
export function rendered(markdown) {
  const made = [];
  // a blank line ends a block, and so does the first item of a list after anything else
  const blocks = markdown.replace(/^---\n[\s\S]*?\n---\n/, "").replace(/^(?![-*] |\s)(.+)\n(?=[-*] )/gm, "$1\n\n").split(/\n(?:\s*\n)+/);
  for (const block of blocks) {
    let lines = block.split("\n").filter((line) => line.trim());
    while (lines.length && lines[0].startsWith("#")) made.push(element("h3", ...inline(lines.shift().replace(/^#+\s*/, ""))));
    if (!lines.length) continue;
    if (lines.length > 1 && lines[0].includes("|") && /^[\s|:-]+$/.test(lines[1])) made.push(table(lines));
    else if (/^\s*[-*] /.test(lines[0])) {
      lines = lines.join("\n").split(/\n(?=\s*[-*] )/).map((line) => line.replace(/^\s*[-*] /, "").replaceAll("\n", " "));
      made.push(element("ul", ...lines.map((line) => element("li", ...inline(line)))));
    } else made.push(element("p", ...inline(lines.join(" "))));
  }
  return made;
}
