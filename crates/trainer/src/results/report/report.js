"use strict";
// Pictures of the hyperparameters, and the replay. The data is what report/data.rs wrote beside this script;
// everything that text can say is in the page already.

const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);

/** A number for people: four significant digits. */
function show(number) {
  if (number === null || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return number.toExponential().replace("e+", "e");
  return String(Number(number.toPrecision(4)));
}

/** Round numbers from low to high, about `count` of them. */
function ticks(low, high, count) {
  const span = high - low || 1;
  let step = 10 ** Math.floor(Math.log10(span / count));
  step *= [1, 2, 5, 10].find((times) => span / (step * times) <= count) ?? 10;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k++) found.push(k * step);
  return found;
}

const SVG = "http://www.w3.org/2000/svg";

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

/** The one tooltip of the page: text beside a point of the window; nothing hides it. */
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip";
tip.hidden = true;

function showTip(text, x, y) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = Math.max(8, Math.min(x + 12, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(8, Math.min(y + 12, innerHeight - tip.offsetHeight - 8)) + "px";
}

// ---- Curves ----

/** 250k and 1.5M in place of many zeros. */
function steps(number) {
  if (number >= 1e6) return show(number / 1e6) + "M";
  return number >= 1e3 ? show(number / 1e3) + "k" : show(number);
}

/** What an axis spans: everything, unless a few outliers would flatten the rest. */
function span(lines) {
  const all = lines.flatMap((line) => [line.mean, line.low ?? [], line.high ?? []]).flat();
  all.sort((a, b) => a - b);
  const at = (share) => all[Math.round(share * (all.length - 1))];
  let [low, high] = [all[0], all.at(-1)];
  const [inner, outer] = [at(0.03), at(0.97)];
  const margin = 0.3 * (outer - inner);
  if (outer > inner && high - low > 3 * (outer - inner)) {
    low = Math.max(low, inner - margin);
    high = Math.min(high, outer + margin);
  }
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
  return { low, high, cut: all.filter((value) => value < low || value > high).length };
}

/** Draws a picture anew, as wide as its place: so its text always has the same size. */
function drawChart(place, chart, number) {
  const { title, lines } = chart;
  const width = Math.max(240, place.clientWidth);
  const height = Math.round(Math.min(Math.max(0.55 * width, 180), 360));
  const { low, high, cut } = span(lines);
  const marks = ticks(low, high, 4);
  const labels = marks.map(show);
  const left = 14 + 7 * Math.max(...labels.map((label) => label.length));
  const [right, top, bottom] = [width - 12, 30, height - 26];
  const first = Math.min(...lines.map((line) => line.x[0]));
  const last = Math.max(...lines.map((line) => line.x.at(-1)));
  const x = (value) => left + ((value - first) / (last - first || 1)) * (right - left);
  const y = (value) => bottom - 4 - ((value - low) / (high - low)) * (bottom - top - 8);
  place.replaceChildren();
  const svg = element(place, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0 });
  const said = lines.map((line) => `${line.label} ends at ${show(line.mean.at(-1))}`);
  svg.setAttribute("aria-label", `${title} over environment steps: ${said.join(", ")}`);
  element(svg, "text", { x: 4, y: 14, class: "name" }, title);
  if (cut > 0) {
    element(svg, "text", { x: right, y: top + 8, "text-anchor": "end" }, "outliers are cut off");
  }
  marks.forEach((value, index) => {
    element(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
    element(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, labels[index]);
  });
  for (const value of ticks(first, last, width / 60)) {
    element(svg, "line", { x1: x(value), x2: x(value), y1: bottom, y2: bottom + 4, class: "grid" });
    element(svg, "text", { x: Math.min(x(value), right - 12), y: bottom + 18, "text-anchor": "middle" }, steps(value));
  }
  const clip = element(element(svg, "clipPath", { id: `clip-${number}` }), "rect", {});
  for (const [key, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) {
    clip.setAttribute(key, value);
  }
  const plot = element(svg, "g", { "clip-path": `url(#clip-${number})` });
  const path = (xs, ys) => xs.map((value, i) => `${i ? "L" : "M"}${x(value).toFixed(1)} ${y(ys[i]).toFixed(1)}`).join("");
  // What is drawn first lies below.
  for (const line of [...lines].reverse()) {
    const color = `line-${line.color ?? "rest"}`;
    if (line.low) {
      const [xs, ends] = [[...line.x].reverse(), [...line.low].reverse()];
      const back = path(xs, ends).replace("M", "L");
      element(plot, "path", { d: path(line.x, line.high) + back + "Z", class: `band ${color}` });
    }
    // The part before the window is full is dashed; both parts share a point.
    const full = line.full_from === null ? 0 : line.x.findIndex((value) => value >= line.full_from);
    const edge = full < 0 ? line.x.length - 1 : full;
    if (edge > 0) {
      const [xs, ys] = [line.x.slice(0, edge + 1), line.mean.slice(0, edge + 1)];
      element(plot, "path", { d: path(xs, ys), class: `curve dashed ${color}` });
    }
    if (line.x.length === 1) {
      element(plot, "circle", { cx: x(line.x[0]), cy: y(line.mean[0]), r: 4, class: `point ${color}` });
    } else {
      element(plot, "path", { d: path(line.x.slice(edge), line.mean.slice(edge)), class: `curve ${color}` });
    }
  }
  const cursor = element(svg, "line", { y1: top, y2: bottom, class: "cursor", visibility: "hidden" });
  const look = (at, clientX, clientY) => {
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    const values = lines.map((line) => {
      const near = line.x.reduce((best, value, i) => (Math.abs(value - at) < Math.abs(line.x[best] - at) ? i : best), 0);
      const interval = line.low ? ` [${show(line.low[near])}, ${show(line.high[near])}]` : "";
      return `${line.label}: ${show(line.mean[near])}${interval}`;
    });
    const more = values.length > 8 ? [`and ${values.length - 8} more`] : [];
    showTip([`${steps(at)} steps`, ...values.slice(0, 8), ...more].join("\n"), clientX, clientY);
  };
  const leave = () => {
    cursor.setAttribute("visibility", "hidden");
    showTip("");
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const inside = ((event.clientX - box.left) / box.width) * width;
    const share = Math.min(1, Math.max(0, (inside - left) / (right - left)));
    look(first + share * (last - first), event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  let share = 1;
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 0.05, ArrowLeft: -0.05 }[event.key];
    if (!by) return;
    event.preventDefault();
    share = Math.min(1, Math.max(0, share + by));
    const box = svg.getBoundingClientRect();
    const at = first + share * (last - first);
    look(at, box.left + (x(at) / width) * box.width, box.top + 20);
  });
}

function drawCharts(charts) {
  const section = find("curves");
  const several = new Set(charts.map((chart) => chart.environment)).size > 1;
  const legends = find("legends");
  let environment;
  for (const chart of charts) {
    // The colours of an environment are those of its return.
    if (chart.environment !== environment) {
      environment = chart.environment;
      const legend = legends.appendChild(document.createElement("p"));
      if (several) legend.append(`${environment}: `);
      for (const line of chart.lines.filter((line) => line.color !== null)) {
        const key = legend.appendChild(document.createElement("span"));
        key.className = `key-${line.color}`;
        key.textContent = line.label;
      }
      const rest = chart.lines.filter((line) => line.color === null).length;
      if (rest > 0) {
        const key = legend.appendChild(document.createElement("span"));
        key.className = "key-rest";
        key.textContent = `${rest} others`;
      }
      chart.colors = new Map(chart.lines.map((line) => [line.label, line.color]));
    }
    const colors = charts.find((one) => one.environment === environment).colors;
    for (const line of chart.lines) line.color = colors.get(line.label) ?? null;
  }
  const places = charts.map((chart) => {
    const place = section.querySelector(".charts").appendChild(document.createElement("div"));
    if (chart.metric === "rollout/ep_rew_mean") place.className = "main";
    const named = several ? { ...chart, title: `${chart.environment}: ${chart.title}` } : chart;
    return [place, named];
  });
  // As wide as the pictures' place, and drawing does not change it.
  new ResizeObserver(() => {
    places.forEach(([place, chart], number) => drawChart(place, chart, number));
  }).observe(legends);
}

// ---- Hyperparameters ----

/** Where a key's values go, from 0 to 1, and the ticks: numbers on a scale, anything else side by side. */
function scale(values) {
  const numbers = values.map(Number);
  const distinct = [...new Set(values)];
  if (distinct.length > 1 && values.every((value) => value !== "") && numbers.every(Number.isFinite)) {
    const low = Math.min(...numbers);
    const high = Math.max(...numbers);
    const log = low > 0 && high / low >= 8;
    const along = log ? (x) => Math.log(x / low) / Math.log(high / low) : (x) => (x - low) / (high - low);
    let marks = [...new Set(numbers)];
    if (marks.length > 5) {
      marks = log
        ? ticks(Math.log10(low), Math.log10(high), 4).filter(Number.isInteger).map((power) => 10 ** power)
        : ticks(low, high, 4);
      if (marks.length < 2) marks = [low, high];
    }
    return { at: numbers.map(along), ticks: marks.map((x) => [along(x), show(x)]) };
  }
  distinct.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const place = (value) => (distinct.indexOf(value) + 0.5) / distinct.length;
  const label = (value) => (value === "" ? "not set" : value.length > 14 ? value.slice(0, 13) + "…" : value);
  return { at: values.map(place), ticks: distinct.slice(0, 8).map((value) => [place(value), label(value)]) };
}

function drawSweep({ keys, groups }) {
  find("sweep").hidden = false;
  const panels = find("sweep").querySelector(".panels");
  const all = groups.flatMap((group) => group.returns);
  let low = Math.min(...all);
  let high = Math.max(...all);
  if (low === high) [low, high] = [low - 1, high + 1];
  const [left, right, top, bottom] = [52, 348, 30, 196];
  const y = (value) => bottom - 6 - ((value - low) / (high - low)) * (bottom - top - 12);
  const mean = (group) => group.returns.reduce((sum, value) => sum + value, 0) / group.returns.length;
  const marks = groups.map(() => []);
  const order = groups.map((_, index) => index).sort((a, b) => mean(groups[a]) - mean(groups[b]));

  const describe = (index) => {
    const group = groups[index];
    const values = keys.map((key, k) => `${key} = ${group.values[k] || "not set"}`);
    const seeds = group.returns.length === 1 ? "1 seed" : `mean of ${group.returns.length} seeds`;
    return [`return ${show(mean(group))} (${seeds})`, ...values];
  };
  let picked = -1;
  const pick = (index, event) => {
    if (picked >= 0) marks[picked].forEach((mark) => mark.classList.remove("picked"));
    picked = index;
    if (index < 0 || !event) showTip("");
    if (index < 0) return;
    for (const mark of marks[index]) {
      mark.classList.add("picked");
      mark.parentNode.append(mark); // above the others
    }
    find("picked").textContent = describe(index).join(", ");
    if (event) showTip(describe(index).join("\n"), event.clientX, event.clientY);
  };

  keys.forEach((key, k) => {
    const svg = element(panels, "svg", { viewBox: "0 0 360 220", role: "img", tabindex: 0 });
    svg.setAttribute("aria-label", `Return over ${key}; arrow keys go from group to group`);
    element(svg, "text", { x: 4, y: 14, class: "name" }, key.length > 48 ? key.slice(0, 47) + "…" : key);
    const { at, ticks: places } = scale(groups.map((group) => group.values[k]));
    const x = (share) => left + 12 + share * (right - left - 24);
    for (const value of ticks(low, high, 4)) {
      element(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
      element(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, show(value));
    }
    for (const [share, label] of places) {
      element(svg, "line", { x1: x(share), x2: x(share), y1: bottom, y2: bottom + 4, class: "grid" });
      element(svg, "text", { x: x(share), y: bottom + 18, "text-anchor": "middle" }, label);
    }
    groups.forEach((group, index) => {
      const mark = element(svg, "g", {});
      for (const value of group.returns) {
        element(mark, "circle", { cx: x(at[index]), cy: y(value), r: 2.5, class: "seed" });
      }
      element(mark, "circle", { cx: x(at[index]), cy: y(mean(group)), r: 5.5, class: "mean" });
      mark.addEventListener("pointerenter", (event) => pick(index, event));
      mark.addEventListener("pointerleave", () => pick(-1));
      marks[index].push(mark);
    });
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const from = order.indexOf(picked);
      pick(order[from < 0 ? order.length - 1 : (from + by + order.length) % order.length]);
    });
  });
}

// ---- Replay ----

/**
 * A layer at each step: a shape, or null where there is none. An entry is a shape, or what has changed
 * since the step before: its text, or differences of its numbers. Where entries end nothing changes.
 */
function unpack(entries, steps) {
  const shapes = [];
  let shape = null;
  for (let step = 0; step <= steps; step++) {
    const entry = entries[step];
    if (typeof entry === "string") shape = { ...shape, text: entry };
    else if (Array.isArray(entry)) shape = { ...shape, at: shape.at.map((x, i) => x + (entry[i] ?? 0)) };
    else if (entry !== undefined) shape = entry;
    shapes.push(shape);
  }
  return shapes;
}

/** An image by its address; `loaded` is called when one is there that was not. */
const images = new Map();
function image(address, loaded) {
  if (!images.has(address)) {
    const made = new Image();
    made.onload = loaded;
    made.src = address;
    images.set(address, made);
  }
  return images.get(address);
}

/** Draws the shapes of a step, `unit` pixels for each of their units; `again` draws it once more. */
function paint(context, unit, color, layers, step, again) {
  const path = (shapes) => {
    for (const { at } of shapes) {
      for (let i = 0; i + 1 < at.length; i += 2) context.lineTo(at[i] * unit, at[i + 1] * unit);
    }
  };
  context.lineCap = context.lineJoin = "round";
  for (const layer of layers) {
    const shape = layer[step];
    if (!shape) continue;
    const { kind, at } = shape;
    // The last number, but for a polygon's.
    const size = at.at(-1) * unit;
    context.fillStyle = context.strokeStyle = color(shape.color);
    context.lineWidth = kind === "ring" ? 1.5 : Math.max(1, size);
    context.beginPath();
    if (kind === "text") {
      context.font = `600 ${size}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(shape.text, at[0] * unit, at[1] * unit);
    } else if (kind === "frame") {
      const shown = image(shape.text, again);
      const [left, bottom, right, top] = at.map((number) => number * unit);
      if (shown.complete) context.drawImage(shown, left, top, right - left, bottom - top);
    } else if (kind === "disc" || kind === "ring") {
      context.arc(at[0] * unit, at[1] * unit, kind === "disc" ? Math.max(1.5, size) : size, 0, 2 * Math.PI);
      if (kind === "disc") context.fill();
      else context.stroke();
    } else if (kind === "polygon") {
      path([shape]);
      context.fill();
    } else {
      const way = kind === "trail" ? layer.slice(Math.max(0, step - shape.steps), step + 1) : [shape];
      path(way.filter((shape) => shape?.kind === kind));
      context.stroke();
    }
  }
}

/** The longer side of a picture, which is also how long the axes of a body are. */
const SIDE = 4000;
const add = (a, b) => a.map((x, i) => x + b[i]);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const middle = (points) => points.reduce(add).map((x) => x / points.length);
const circle = [...Array(24).keys()].map((i) => [Math.cos((i * Math.PI) / 12), Math.sin((i * Math.PI) / 12)]);

/** The corners of the convex hull. */
function hull(points) {
  points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (points) => {
    const chain = [];
    for (const [x, y] of points) {
      while (chain.length > 1) {
        const [a, b] = chain.slice(-2);
        if ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 0) break;
        chain.pop();
      }
      chain.push([x, y]);
    }
    return chain.slice(0, -1);
  };
  return [...half(points), ...half(points.toReversed())];
}

/** The shapes that a camera sees of a scene at a step: what `Scene::draw` gives the other viewers. */
function see({ radius, bodies }, layers, step, [azimuth, elevation], height) {
  const [sin, cos, rise, level] = [azimuth, elevation].flatMap((angle) => [Math.sin(angle), Math.cos(angle)]);
  const [right, up, towards] = [[-sin, cos, 0], [-rise * cos, -rise * sin, level], [level * cos, level * sin, rise]];
  // From above there is more to see of the floor.
  const zoom = Math.min(1, height / radius / (1 + Math.max(0.3, rise)));
  const project = (point) => [radius + zoom * dot(right, point), zoom * (radius - dot(up, point))];
  const shapes = [];
  const polygon = (points, color) => shapes.push({ kind: "polygon", color, at: points.flat() });
  const line = (points, width, color) => shapes.push({ kind: "line", color, at: [...points.flat(), width * radius] });

  const floor = radius * Math.SQRT1_2;
  for (let at = -1; at <= 1; at += 0.25) {
    for (const ends of [[[at, -1, 0], [at, 1, 0]], [[-1, at, 0], [1, at, 0]]]) {
      line(ends.map((end) => project(end.map((x) => x * floor))), 0.006, "soft");
    }
  }
  const solids = bodies.flatMap((solids, body) => {
    const { at, color } = layers[body][step];
    const [x, y] = [3, 6].map((axis) => at.slice(axis, axis + 3).map((x) => x / SIDE));
    const axes = [x, y, cross(x, y)];
    const place = (corners, i) => {
      const turned = [0, 1, 2].map((row) => axes.reduce((sum, axis, k) => sum + axis[row] * corners[i + k], 0));
      return add(at.slice(0, 3), turned);
    };
    return solids.map(([margin, faces]) => {
      const placed = faces.map((face) => [...Array(face.length / 3).keys()].map((i) => place(face, 3 * i)));
      return { margin, color, faces: placed, middle: middle(placed.flat()) };
    });
  });
  const outline = ({ margin, faces }, project) => {
    const corners = faces.flat().map(project);
    if (margin === 0) return hull(corners);
    return hull(corners.flatMap((corner) => circle.map((way) => corner.map((x, i) => x + zoom * margin * way[i]))));
  };
  for (const solid of solids) {
    polygon(outline(solid, ([x, y, z]) => project([x + 0.25 * z, y + 0.15 * z, 0])), "soft");
  }
  for (const layer of layers) {
    const way = layer.slice(Math.max(0, step - layer[step].steps), step + 1);
    if (way.length > 1) line(way.map(({ at }) => project(at)), 0.012, "second");
  }
  const depth = ({ middle }) => dot(towards, middle);
  for (const solid of solids.sort((a, b) => depth(a) - depth(b))) {
    const edge = outline(solid, project);
    polygon(edge, solid.color);
    const seen = solid.faces.filter((face) => {
      if (face.length < 3) return false;
      const [a, b, c] = [0, 1, 2].map((corner) => face[Math.floor((corner * face.length) / 3)]);
      const back = a.map((x) => -x);
      const normal = cross(add(b, back), add(c, back));
      const outward = dot(normal, a) - dot(normal, solid.middle);
      return dot(normal, towards) * outward > 1e-9 * Math.abs(outward);
    });
    for (const around of [...seen.map((face) => face.map(project)), edge]) {
      line([...around, around[0]], 0.006, "soft");
    }
  }
  return shapes;
}

function startReplay(replays) {
  const canvas = find("player").querySelector("canvas");
  const [slider, button, frame] = [find("step"), find("play"), find("frame")];
  const [policies, episodes, speed] = [find("policy"), find("episode"), find("speed")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let replay, episode, layers, returns, costs, camera;
  let playing = false;
  let clock = 0; // steps, with the fraction that slow motion needs
  let request = 0;

  const options = (select, labels) => {
    select.replaceChildren(...labels.map((label, value) => new Option(label, value)));
  };
  const draw = () => {
    const width = canvas.clientWidth;
    const [wide, high] = episode.size;
    const height = Math.round(Math.max(120, Math.min((width * high) / wide, 460)));
    const unit = Math.min(width / wide, height / high);
    const density = devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    const context = canvas.getContext("2d");
    context.scale(density, density);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue("--" + name).trim();
    const step = Number(slider.value);
    context.translate((width - wide * unit) / 2, (height - high * unit) / 2);
    if (episode.scene) {
      const shapes = see(episode.scene, layers, step, camera, high);
      paint(context, unit, color, shapes.map((shape) => [shape]), 0, draw);
    } else paint(context, unit, color, layers, step, draw);
    const last = episode.rewards.length;
    const parts = [`step ${step} of ${last}`];
    if (step > 0) {
      parts.push(`action ${episode.actions[step - 1].map(show).join(", ")}`);
      parts.push(`reward ${show(episode.rewards[step - 1])}`);
    }
    parts.push(`return ${show(returns[step])}`);
    for (const [name, sums] of costs) parts.push(`${name} ${show(sums[step])}`);
    if (step === last) parts.push(episode.end);
    frame.textContent = parts.join(" · ");
    slider.setAttribute("aria-valuetext", parts.join(", "));
  };
  const stop = () => {
    cancelAnimationFrame(request);
    playing = false;
    button.textContent = "Play";
  };
  const choose = () => {
    stop();
    episode = replay.episodes[Number(episodes.value)];
    layers = episode.layers.map((entries) => unpack(entries, episode.rewards.length));
    const sums = (numbers) => {
      const all = [0];
      for (const number of numbers) all.push(all.at(-1) + number);
      return all;
    };
    returns = sums(episode.rewards);
    costs = episode.costs.map(([name, steps]) => [name, sums(steps)]);
    slider.max = episode.rewards.length;
    slider.value = clock = 0;
    camera = episode.scene?.camera;
    canvas.classList.toggle("turnable", Boolean(camera));
    canvas.tabIndex = camera ? 0 : -1;
    find("turn").hidden = !camera;
    draw();
  };
  const turn = (around, above) => {
    camera = [camera[0] + around, Math.min(Math.max(camera[1] + above, 0), Math.PI / 2)];
    draw();
  };
  const choosePolicy = () => {
    replay = replays[Number(policies.value)];
    options(episodes, replay.episodes.map((_, index) => String(index + 1)));
    choose();
  };
  const play = () => {
    playing = true;
    button.textContent = "Pause";
    if (Number(slider.value) >= episode.rewards.length) slider.value = 0;
    clock = Number(slider.value);
    let before = performance.now();
    const next = (now) => {
      clock += (Math.max(0, now - before) / 1000 / episode.seconds_per_step) * Number(speed.value);
      before = now;
      slider.value = Math.floor(clock);
      draw();
      if (clock >= episode.rewards.length) stop();
      else request = requestAnimationFrame(next);
    };
    request = requestAnimationFrame(next);
  };

  find("player").hidden = false;
  options(policies, replays.map((replay) => replay.label));
  policies.addEventListener("change", choosePolicy);
  episodes.addEventListener("change", choose);
  slider.addEventListener("input", () => {
    stop();
    draw();
  });
  canvas.addEventListener("pointerdown", (event) => camera && canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (camera && event.buttons) turn(-event.movementX / 150, event.movementY / 150);
  });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (!by || !camera) return;
    event.preventDefault();
    turn(...by);
  });
  button.addEventListener("click", () => (playing ? stop() : play()));
  choosePolicy();
  new ResizeObserver(draw).observe(slider); // as wide as the canvas, and drawing does not change it
  dark.addEventListener("change", draw);
}

if (data.charts.length > 0) drawCharts(data.charts);
else find("curves").append("No run has a value to draw.");
if (data.sweep) drawSweep(data.sweep);
if (data.replays.length > 0) startReplay(data.replays);
