"use strict";
// Pictures of the hyperparameters, and the replay. The data is what report.rs wrote beside this script;
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

// ---- Hyperparameters ----

const SVG = "http://www.w3.org/2000/svg";

function element(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

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
  const tip = document.body.appendChild(document.createElement("div"));
  tip.id = "tip";
  tip.hidden = true;

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
    tip.hidden = index < 0 || !event;
    if (index < 0) return;
    for (const mark of marks[index]) {
      mark.classList.add("picked");
      mark.parentNode.append(mark); // above the others
    }
    find("picked").textContent = describe(index).join(", ");
    if (!event) return;
    tip.textContent = describe(index).join("\n");
    tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 8) + "px";
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

/** A pen for a world in metres that is fitted into the canvas, y up. */
function pen(context, size, colors, [x0, x1, y0, y1]) {
  const unit = Math.min(size.width / (x1 - x0), size.height / (y1 - y0));
  const at = (x, y) => [
    size.width / 2 + (x - (x0 + x1) / 2) * unit,
    size.height / 2 - (y - (y0 + y1) / 2) * unit,
  ];
  const fill = (color) => {
    context.fillStyle = colors[color];
    context.fill();
  };
  return {
    line(points, color, width) {
      context.beginPath();
      points.forEach(([x, y]) => context.lineTo(...at(x, y)));
      context.strokeStyle = colors[color];
      context.lineWidth = Math.max(1, width * unit);
      context.lineCap = context.lineJoin = "round";
      context.stroke();
    },
    disc(x, y, radius, color) {
      context.beginPath();
      context.arc(...at(x, y), Math.max(1.5, radius * unit), 0, 2 * Math.PI);
      fill(color);
    },
    ring(x, y, radius, color) {
      context.beginPath();
      context.arc(...at(x, y), radius * unit, 0, 2 * Math.PI);
      context.strokeStyle = colors[color];
      context.lineWidth = 1.5;
      context.stroke();
    },
    box(x, y, width, height, color) {
      context.beginPath();
      context.rect(...at(x, y + height), width * unit, height * unit);
      fill(color);
    },
    text(text, x, y, height, color) {
      context.fillStyle = colors[color];
      context.font = `600 ${height * unit}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(text, ...at(x, y));
    },
  };
}

/** What a way through the world has behind it at a step: the last `count` points. */
const trail = (states, step, count, point) => states.slice(Math.max(0, step - count), step + 1).map(point);

// Each scene: how high the picture is for its width, and how a step is drawn.
const SCENES = {
  cartpole: {
    ratio: 0.36,
    draw(context, size, colors, { states, actions }, step) {
      const draw = pen(context, size, colors, [-2.9, 2.9, -0.45, 1.45]);
      const [x, , angle] = states[step];
      draw.line([[-2.4, 0], [2.4, 0]], "quiet", 0.02);
      for (const end of [-2.4, 2.4]) draw.line([[end, -0.12], [end, 0.12]], "danger", 0.04);
      draw.box(x - 0.25, -0.12, 0.5, 0.26, "text");
      draw.line([[x, 0.14], [x + Math.sin(angle), 0.14 + Math.cos(angle)]], "accent", 0.09);
      draw.disc(x, 0.14, 0.05, "card");
      if (step < actions.length) {
        // The push that comes next.
        const way = actions[step][0] === 1 ? 1 : -1;
        const tip = x + way * 0.62;
        draw.line([[x + way * 0.32, 0.01], [tip, 0.01]], "second", 0.04);
        draw.line([[tip - way * 0.1, 0.09], [tip, 0.01], [tip - way * 0.1, -0.07]], "second", 0.04);
      }
    },
  },
  pendulum: {
    ratio: 0.6,
    draw(context, size, colors, { states }, step) {
      const draw = pen(context, size, colors, [-1.2, 1.2, -1.2, 1.2]);
      const tip = ([angle]) => [-Math.sin(angle), Math.cos(angle)];
      draw.line([[0, 1.06], [0, 1.16]], "quiet", 0.02);
      draw.line(trail(states, step, 20, tip), "second", 0.015);
      draw.line([[0, 0], tip(states[step])], "accent", 0.14);
      draw.disc(0, 0, 0.05, "text");
    },
  },
  reach: {
    ratio: 0.6,
    draw(context, size, colors, { states }, step) {
      const draw = pen(context, size, colors, [-1.1, 1.1, -1.1, 1.1]);
      const elbow = ([q]) => [0.5 * Math.cos(q), 0.5 * Math.sin(q)];
      const gripper = (state) => {
        const [x, y] = elbow(state);
        return [x + 0.5 * Math.cos(state[0] + state[1]), y + 0.5 * Math.sin(state[0] + state[1])];
      };
      const state = states[step];
      draw.ring(0, 0, 1, "line");
      draw.line(trail(states, step, 60, gripper), "second", 0.012);
      draw.ring(state[4], state[5], 0.05, "danger");
      draw.disc(state[4], state[5], 0.025, "danger");
      draw.line([[0, 0], elbow(state), gripper(state)], "accent", 0.06);
      for (const [x, y] of [[0, 0], elbow(state)]) draw.disc(x, y, 0.04, "text");
      draw.disc(...gripper(state), 0.025, "text");
    },
  },
  cliff: {
    ratio: 0.36,
    draw(context, size, colors, { states }, step) {
      const draw = pen(context, size, colors, [-0.2, 12.2, -0.2, 4.2]);
      const cell = (number) => [number % 12, 3 - Math.floor(number / 12)];
      for (let number = 0; number < 48; number++) {
        const [x, y] = cell(number);
        const cliff = number > 36 && number < 47;
        draw.box(x + 0.03, y + 0.03, 0.94, 0.94, cliff ? "danger" : "soft");
      }
      draw.text("start", 0.5, 0.5, 0.26, "text");
      draw.text("goal", 11.5, 0.5, 0.26, "text");
      // A fall leads back to the start: it breaks the way.
      const [middle] = [([number]) => cell(number).map((place) => place + 0.5)];
      for (let t = 1; t <= step; t++) {
        const way = [middle(states[t - 1]), middle(states[t])];
        if (Math.hypot(way[1][0] - way[0][0], way[1][1] - way[0][1]) < 1.5) draw.line(way, "second", 0.06);
      }
      draw.disc(...middle(states[step]), 0.28, "accent");
    },
  },
  // An environment that the page knows no picture of: each number of the observation over the steps.
  observation: {
    ratio: 0.6,
    draw(context, size, colors, { states }, step) {
      const strip = size.height / states[0].length;
      const across = (t) => 8 + (t / Math.max(1, states.length - 1)) * (size.width - 16);
      context.font = "12px system-ui, sans-serif";
      context.textBaseline = "top";
      context.lineWidth = 1.5;
      states[0].forEach((_, row) => {
        const values = states.map((state) => state[row]);
        const low = Math.min(...values);
        const high = Math.max(...values);
        const base = (row + 1) * strip - 5;
        const up = (value) => base - ((value - low) / (high - low || 1)) * (strip - 26);
        context.strokeStyle = colors.line;
        context.strokeRect(0, row * strip, size.width, strip);
        context.beginPath();
        values.forEach((value, t) => context.lineTo(across(t), up(value)));
        context.strokeStyle = colors.second;
        context.stroke();
        context.beginPath();
        context.arc(across(step), up(values[step]), 4, 0, 2 * Math.PI);
        context.fillStyle = colors.accent;
        context.fill();
        context.fillStyle = colors.quiet;
        const range = `${show(low)} to ${show(high)}`;
        context.fillText(`observation ${row}: ${show(values[step])}   (${range})`, 8, row * strip + 4);
      });
    },
  },
};

function startReplay(replays) {
  const canvas = find("player").querySelector("canvas");
  const [slider, button, frame] = [find("step"), find("play"), find("frame")];
  const [policies, episodes, speed] = [find("policy"), find("episode"), find("speed")];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let replay, episode, returns;
  let playing = false;
  let clock = 0; // steps, with the fraction that slow motion needs
  let request = 0;

  const options = (select, labels) => {
    select.replaceChildren(...labels.map((label, value) => new Option(label, value)));
  };
  const draw = () => {
    const scene = SCENES[replay.scene];
    const width = canvas.clientWidth;
    const height = Math.round(Math.min(width * scene.ratio + 40, 460));
    const density = devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    const context = canvas.getContext("2d");
    context.scale(density, density);
    const style = getComputedStyle(document.documentElement);
    const colors = {};
    for (const name of ["text", "quiet", "line", "accent", "second", "soft", "danger", "card"]) {
      colors[name] = style.getPropertyValue("--" + name).trim();
    }
    const step = Number(slider.value);
    scene.draw(context, { width, height }, colors, episode, step);
    const last = episode.rewards.length;
    const parts = [`step ${step} of ${last}`];
    if (step > 0) {
      parts.push(`action ${episode.actions[step - 1].map(show).join(", ")}`);
      parts.push(`reward ${show(episode.rewards[step - 1])}`);
    }
    parts.push(`return ${show(returns[step])}`);
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
    returns = [0];
    for (const reward of episode.rewards) returns.push(returns.at(-1) + reward);
    slider.max = episode.rewards.length;
    slider.value = clock = 0;
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
      clock += (Math.max(0, now - before) / 1000 / replay.seconds_per_step) * Number(speed.value);
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
  button.addEventListener("click", () => (playing ? stop() : play()));
  choosePolicy();
  new ResizeObserver(draw).observe(slider); // as wide as the canvas, and drawing does not change it
  dark.addEventListener("change", draw);
}

if (data.sweep) drawSweep(data.sweep);
if (data.replays.length > 0) startReplay(data.replays);
