// Returns what is wrong with the page as it stands: a line for each fault.
window => {
  const wrong = [];
  const needed = document.documentElement.scrollWidth;
  if (needed > window) {
    const wide = [...document.body.querySelectorAll("*")].filter(one => one.getBoundingClientRect().right > window + 1 && !clipped(one));
    const named = wide.slice(0, 3).map(one => `<${one.tagName.toLowerCase()}> ${one.textContent.trim().slice(0, 40)}`);
    wrong.push(`needs ${needed} pixels: ${named.join("; ")}`);
  }

  function clipped(element) {
    for (let up = element.parentElement; up && up !== document.body; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== "visible") return true;
    return false;
  }

  // The corners of each line of text, shrunk to the letters, where it can be seen.
  function corners(node) {
    const parent = node.parentElement, svg = parent.closest("svg text");
    if (svg) {
      const box = svg.getBBox(), to = svg.getScreenCTM();
      const inset = 0.15 * Math.min(box.height, 30);
      const points = [[box.x, box.y + inset], [box.x + box.width, box.y + inset],
        [box.x + box.width, box.y + box.height - inset], [box.x, box.y + box.height - inset]];
      return [points.map(([x, y]) => [to.a * x + to.c * y + to.e, to.b * x + to.d * y + to.f])];
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    const size = parseFloat(getComputedStyle(parent).fontSize);
    return [...range.getClientRects()].filter(box => box.width > 1 && box.height > 1).map(box => {
      const middle = (box.top + box.bottom) / 2, half = 0.4 * size;
      return [[box.left, middle - half], [box.right, middle - half], [box.right, middle + half], [box.left, middle + half]];
    });
  }

  function seen(element) {
    for (let up = element; up; up = up.parentElement) {
      const style = getComputedStyle(up);
      if (style.display === "none" || style.visibility === "hidden" || Number(style.opacity) === 0) return false;
      if (up.tagName === "DETAILS" && !up.open && !element.closest("summary")) return false;
    }
    return true;
  }

  function beside({ bounds: [left, right] }, { bounds: [from, to] }) {
    return left <= to && from <= right;
  }

  // Two convex shapes lie apart if a line along one of their sides divides them.
  function overlap(one, other) {
    for (const shape of [one, other]) for (let at = 0; at < shape.length; at++) {
      const [a, b] = [shape[at], shape[(at + 1) % shape.length]], normal = [b[1] - a[1], a[0] - b[0]];
      const length = Math.hypot(...normal) || 1;
      const along = points => points.map(([x, y]) => (x * normal[0] + y * normal[1]) / length);
      const [first, second] = [along(one), along(other)];
      if (Math.min(...first) > Math.max(...second) - 1.5 || Math.min(...second) > Math.max(...first) - 1.5) return false;
    }
    return true;
  }

  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (dark === luminance(ground(document.body)) > 0.2) wrong.push(`the ground is not ${dark ? "dark" : "light"}`);

  const root = getComputedStyle(document.documentElement), styles = [...document.querySelectorAll("style")].map(one => one.textContent).join();
  for (const name of new Set(styles.match(/--[a-z][\w-]*/g)))
    if (!root.getPropertyValue(name).trim()) wrong.push(`${name} is nothing`);

  for (const chart of document.querySelectorAll(".js-plotly-plot")) {
    const title = chart.closest("section").querySelector("h2").textContent, { w } = chart._fullLayout._size;
    if (w < 0.4 * chart.clientWidth) wrong.push(`what stands beside the chart of "${title}" leaves it ${Math.round(w)} of ${chart.clientWidth} pixels`);
  }

  for (const { textContent } of document.querySelectorAll("p"))
    for (const [both] of textContent.matchAll(/[a-z]+[.;][A-Z][a-z]*/g)) wrong.push(`no space between sentences: "${both}"`);

  // What a reader needs who does not see the page, or not its colours.
  for (const name of ["main", "h1"]) {
    const count = document.querySelectorAll(name).length;
    if (count !== 1) wrong.push(`${count} times <${name}>`);
  }
  if (!document.documentElement.lang) wrong.push("the page has no language");
  let depth = 1;
  for (const { localName, textContent } of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    if (localName[1] > depth + 1) wrong.push(`<${localName}> below <h${depth}>: "${textContent.trim()}"`);
    depth = Number(localName[1]);
  }
  for (const { textContent } of document.querySelectorAll("th:not([scope])")) wrong.push(`a header without scope: "${textContent}"`);
  for (const picture of document.querySelectorAll("img:not([alt])")) wrong.push(`a picture without alt: ${picture.src.slice(0, 60)}`);
  for (const field of document.querySelectorAll("input, select, textarea")) if (!field.labels.length) wrong.push(`a field without label: ${field.id}`);
  for (const chart of document.querySelectorAll(".plotly-graph-div")) {
    const said = chart.closest("[role=img]")?.getAttribute("aria-label") || "";
    if (!/\d/.test(said)) wrong.push(`a chart without its figures in words: "${said}"`);
  }

  const texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE", "OPTION"].includes(parent.tagName) || !seen(parent)) continue;
    const owner = parent.closest("svg text") || node;
    for (const shape of corners(node)) {
      const xs = shape.map(([x]) => x), ys = shape.map(([, y]) => y);
      const bounds = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      texts.push({ shape, bounds, owner, parent, text: node.textContent.trim().slice(0, 50) });
    }
  }
  texts.sort((one, other) => one.bounds[2] - other.bounds[2]);  // the topmost first, so that few are compared

  const found = new Set();
  for (let at = 0; at < texts.length; at++) for (let to = at + 1; to < texts.length; to++) {
    const [one, other] = [texts[at], texts[to]];
    if (other.bounds[2] > one.bounds[3]) break;
    if (one.owner !== other.owner && beside(one, other) && overlap(one.shape, other.shape) && visibleTogether(one, other))
      found.add(`texts overlap: "${one.text}" and "${other.text}"`);
  }
  wrong.push(...found);

  // A text that is scrolled out of its box is not seen there.
  function visibleTogether(one, other) {
    return [one, other].every(({ bounds: [left, right, top], parent }) => {
      for (let up = parent; up && up !== document.body; up = up.parentElement) {
        if (up instanceof SVGElement || getComputedStyle(up).overflowX === "visible") continue;
        const box = up.getBoundingClientRect();
        if (left >= box.right || right <= box.left || top >= box.bottom) return false;
      }
      return true;
    });
  }

  function luminance([red, green, blue]) {
    const [r, g, b] = [red, green, blue].map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function parse(colour) {
    return (colour.match(/[\d.]+/g) || []).map(Number);
  }
  function filtered(element) {
    for (let up = element; up; up = up.parentElement) if (getComputedStyle(up).filter !== "none") return true;
    return false;
  }
  function ground(element) {
    if (filtered(element)) return [255, 255, 255];  // the filter turns text and ground alike
    for (let up = element; up; up = up.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(up).backgroundColor);
      if (r !== undefined && alpha > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  }
  const faint = new Set();
  for (const { parent, text, owner } of texts) {
    const svg = owner instanceof SVGElement;
    if (parent.closest(".heatmap-label, .hm, .heatmaplayer")) continue;  // on a colour of its own
    const style = getComputedStyle(parent), colour = parse(svg ? style.fill : style.color);
    if (colour.length < 3) continue;
    const [high, low] = [luminance(colour), luminance(ground(parent))].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.4) faint.add(`contrast of ${contrast.toFixed(1)}: "${text}"`);
  }
  wrong.push(...faint);
  return wrong;
}
