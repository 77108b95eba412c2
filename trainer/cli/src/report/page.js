"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // Scores are whole numbers of 1/65536 nat.
  const Q = 65536;
  const DAY = 86400;
  const byId = (id) => document.getElementById(id);
  const count = data.scores.length;
  const scores = Float64Array.from(data.scores);
  const anomalous = new Uint8Array(count);
  for (const event of data.events) anomalous.fill(1, event.start, event.end);
  const ascending = (marked) => scores.filter((_, at) => anomalous[at] === marked).sort();
  const [normals, anomalies] = [ascending(0), ascending(1)];
  const all = scores.slice().sort();

  // How many of these ascending values are at least `least`.
  const atLeast = (values, least) => {
    let [low, high] = [0, values.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < least) low = middle + 1;
      else high = middle;
    }
    return values.length - low;
  };

  const digits = (value, significant = 3) => {
    if (!Number.isFinite(value)) return "none";
    if (value === 0) return "0";
    const places = Math.min(6, Math.max(0, significant - 1 - Math.floor(Math.log10(Math.abs(value)))));
    return value.toFixed(places);
  };
  const percent = (share) => `${digits(100 * share)} %`;
  const duration = (seconds) => {
    const units = [["d", DAY], ["h", 3600], ["min", 60]];
    const at = units.findIndex(([, length]) => Math.round(seconds) >= length);
    if (at < 0) return `${digits(seconds)} s`;
    const whole = Math.floor(Math.round(seconds) / units[at][1]);
    const [name, length] = units[at + 1] ?? ["s", 1];
    const rest = Math.floor((Math.round(seconds) - whole * units[at][1]) / length);
    return `${whole} ${units[at][0]}${rest > 0 ? ` ${rest} ${name}` : ""}`;
  };
  const rows = (value) => (data.seconds ? duration(value * data.seconds) : `${digits(value)} rows`);
  const perTime = (alarms, among) => {
    if (among === 0) return "none";
    const share = alarms / among;
    return data.seconds ? `${digits(share * (DAY / data.seconds))} a day` : `${digits(1000 * share)} in 1000 rows`;
  };

  // Scores of anomalies may be a thousand times those of normal rows: beyond the median the axis is logarithmic.
  const least = all[0] / Q;
  const scale = Math.max(all[count >> 1] / Q - least, (all[count - 1] / Q - least) / 1e6, 1 / Q);
  const bend = (nats) => Math.log1p(Math.max(0, nats - least) / scale);
  const unbend = (value) => least + scale * Math.expm1(value);
  const top = 1.02 * Math.max(bend(all[count - 1] / Q), 1e-9);

  const element = (parent, name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes ?? {})) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const html = (parent, name, text) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };

  // A chart in a figure: its plot area, and a description for those who cannot see it.
  const chart = (id, width, height, margin) => {
    const figure = byId(id);
    const svg = element(figure, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}-title ${id}-desc` });
    element(svg, "title", { id: `${id}-title` }, figure.querySelector("figcaption").textContent);
    const description = element(svg, "desc", { id: `${id}-desc` });
    const [left, right, above, below] = [margin[0], width - margin[1], margin[2], height - margin[3]];
    return { svg, left, right, above, below, describe: (text) => { description.textContent = text; } };
  };

  // Round numbers from `low` to `high` whose places are at least `apart` from each other.
  const ticks = (low, high, place, apart) => {
    const candidates = [0];
    for (let power = -3; power <= 9; power += 1) {
      for (const lead of [1, 2, 5]) candidates.push(lead * 10 ** power, -lead * 10 ** power);
    }
    const span = high - low;
    const step = 10 ** Math.floor(Math.log10(span / 5));
    for (const lead of [1, 2, 5]) {
      if (span / (lead * step) > 12) continue;
      for (let at = Math.ceil(low / (lead * step)); at * lead * step <= high; at += 1) candidates.push(at * lead * step);
      break;
    }
    const kept = [];
    for (const value of candidates) {
      const at = place(value);
      if (value >= low && value <= high && kept.every((other) => Math.abs(place(other) - at) >= apart)) kept.push(value);
    }
    return kept;
  };
  const short = (value) => (Math.abs(value) >= 1e4 ? `${+(value / 1e3).toPrecision(3)}k` : `${+value.toPrecision(4)}`);

  let threshold = data.threshold ?? normals[Math.floor(0.99 * normals.length)] ?? all[count - 1];
  const updates = [];

  byId("title").textContent = document.title;
  byId("subtitle").textContent =
    `${count} rows, ${anomalies.length} anomalous in ${data.events.length} events` +
    (data.seconds ? `, ${duration(count * data.seconds)} of data` : "");
  if (data.rule !== "threshold") {
    byId("rule").textContent = `Charts with this line are of single rows; measures and causes are of the rule ${data.rule}.`;
  }

  // What follows from the threshold.
  const state = () => {
    const falseAlarms = atLeast(normals, threshold);
    const delays = data.events.map((event) => {
      for (let at = event.start; at < event.end; at += 1) if (scores[at] >= threshold) return at - event.start;
      return null;
    });
    const found = delays.filter((delay) => delay !== null).sort((a, b) => a - b);
    const middle = found.length / 2;
    const median = found.length ? (found[Math.ceil(middle) - 1] + found[Math.floor(middle)]) / 2 : null;
    return { falseAlarms, delays, found: found.length, median };
  };

  const drawNumbers = (now) => {
    byId("n-threshold").textContent = `${digits(threshold / Q, 5)} nats`;
    byId("n-false").textContent = `${perTime(now.falseAlarms, normals.length)} (${now.falseAlarms})`;
    byId("n-share").textContent = normals.length ? percent(now.falseAlarms / normals.length) : "none";
    byId("n-events").textContent = data.events.length
      ? `${now.found} of ${data.events.length} (${percent(now.found / data.events.length)})` : "none are labelled";
    byId("n-delay").textContent = now.median === null ? "none" : rows(now.median);
    const slider = byId("slider");
    slider.value = Math.round(1000 * bend(threshold / Q) / top);
    slider.setAttribute("aria-valuetext", ["n-threshold", "n-false", "n-events"].map((id) => byId(id).textContent).join(", "));
  };
  updates.push(drawNumbers);

  const setThreshold = (bits) => {
    threshold = bits;
    const now = state();
    for (const update of updates) update(now);
  };

  const histogram = () => {
    const box = chart("histogram", 960, 300, [50, 15, 15, 40]);
    const { svg, left, right, above, below } = box;
    const place = (nats) => left + (right - left) * bend(nats) / top;
    const bins = 60;
    const middle = anomalies.length ? (above + below) / 2 : below;
    const shares = (values) => {
      const bars = new Array(bins).fill(0);
      for (const value of values) bars[Math.min(bins - 1, Math.floor(bins * bend(value / Q) / top))] += 1 / values.length;
      return bars;
    };
    const [up, down] = [shares(normals), shares(anomalies)];
    const largest = Math.max(...up, ...down);
    const width = (right - left) / bins;
    const bar = (at, share, kind, direction, name) => {
      if (share === 0) return;
      const height = Math.max(1, (middle - above) * share / largest);
      const made = element(svg, "rect", { class: kind, x: left + at * width + 0.5, width: width - 1, y: direction > 0 ? middle - height : middle, height });
      element(made, "title", {}, `${percent(share)} of ${name} rows from ${digits(unbend(at * top / bins), 4)} nats`);
    };
    up.forEach((share, at) => bar(at, share, "normal", 1, "normal"));
    down.forEach((share, at) => bar(at, share, "anomalous", -1, "anomalous"));
    element(svg, "line", { class: "axis", x1: left, x2: right, y1: middle, y2: middle });
    for (const value of ticks(least, unbend(top), place, 45)) {
      element(svg, "line", { class: "axis", x1: place(value), x2: place(value), y1: below, y2: below + 5 });
      element(svg, "text", { class: "faint", x: place(value), y: below + 18, "text-anchor": "middle" }, short(value));
    }
    element(svg, "text", { class: "faint", x: right, y: below + 34, "text-anchor": "end" }, data.score);
    element(svg, "text", { x: right, y: above + 10, "text-anchor": "end" }, `normal (${normals.length} rows)`);
    if (anomalies.length) {
      element(svg, "text", { x: right, y: below - 4, "text-anchor": "end" }, `anomalous (${anomalies.length} rows), downwards`);
    }
    const line = element(svg, "line", { class: "threshold", y1: above, y2: below });
    const grip = element(svg, "circle", { class: "grip", cy: above, r: 6 });
    // The whole plot takes the pointer, so that the line need not be hit.
    const area = element(svg, "rect", { class: "drag", id: "drag", x: left - 8, y: 0, width: right - left + 16, height: below + 5 });
    const move = (event) => {
      const bounds = svg.getBoundingClientRect();
      const at = (event.clientX - bounds.left) * 960 / bounds.width;
      const value = Math.min(top, Math.max(0, top * (at - left) / (right - left)));
      setThreshold(Math.round(unbend(value) * Q));
    };
    let held = false;
    area.addEventListener("pointerdown", (event) => {
      held = true;
      // A pointer that a program makes up cannot be captured.
      try { area.setPointerCapture(event.pointerId); } catch { /* it still moves the line */ }
      move(event);
    });
    area.addEventListener("pointermove", (event) => { if (held) move(event); });
    for (const end of ["pointerup", "pointercancel"]) area.addEventListener(end, () => { held = false; });
    updates.push((now) => {
      const at = Math.min(right, place(threshold / Q));
      line.setAttribute("x1", at);
      line.setAttribute("x2", at);
      grip.setAttribute("cx", at);
      const part = (values) => (values.length ? percent(atLeast(values, threshold) / values.length) : "none");
      box.describe(
        `Scores from ${digits(least, 4)} to ${digits(all[count - 1] / Q, 4)} nats, on an axis that is logarithmic for high scores. ` +
        `At the threshold of ${digits(threshold / Q, 5)} nats, ${part(normals)} of normal rows and ${part(anomalies)} of anomalous rows alarm: ` +
        `${now.found} of ${data.events.length} events.`);
    });
  };

  const timeline = () => {
    const box = chart("timeline", 960, 300, [50, 15, 40, 40]);
    const { svg, left, right, above, below } = box;
    const across = (at) => left + (right - left) * at / count;
    const up = (nats) => below - (below - above) * bend(nats) / top;
    for (const event of data.events) {
      const band = element(svg, "rect", { class: "band", x: across(event.start), y: above, height: below - above, width: Math.max(1.5, across(event.end) - across(event.start)) });
      element(band, "title", {}, `event from ${eventName(event)}, ${rows(event.end - event.start)}`);
    }
    for (const value of ticks(least, unbend(top), (nats) => up(nats), 25)) {
      element(svg, "line", { class: "grid", x1: left, x2: right, y1: up(value), y2: up(value) });
      element(svg, "text", { class: "faint", x: left - 5, y: up(value) + 4, "text-anchor": "end" }, short(value));
    }
    // The largest score of each column of pixels; a line breaks where rows do not follow one another.
    const columns = Math.min(count, right - left);
    const breaks = data.ends.length <= 100 ? data.ends : [];
    let path = "";
    let pen = "M";
    for (let column = 0; column < columns; column += 1) {
      const [from, to] = [Math.floor(column * count / columns), Math.floor((column + 1) * count / columns)];
      let largest = -Infinity;
      for (let at = from; at < to; at += 1) largest = Math.max(largest, scores[at]);
      path += `${pen}${across((from + to) / 2).toFixed(1)} ${up(largest / Q).toFixed(1)}`;
      pen = breaks.some((end) => end > from && end <= to) ? "M" : "L";
    }
    element(svg, "path", { class: "curve", d: path });
    if (data.groups.length > 1) {
      data.groups.forEach(([name, start], at) => {
        const x = across(start);
        element(svg, "line", { class: "axis", x1: x, x2: x, y1: above - 12, y2: below });
        const room = across(data.groups[at + 1]?.[1] ?? count) - x;
        if (room < 30) return;
        const letters = Math.floor(room / 7);
        const shown = name.length > letters ? `${name.slice(0, Math.max(1, letters - 1))}…` : name;
        element(element(svg, "text", { class: "faint", x: x + 3, y: above - 20 }, shown), "title", {}, name);
      });
    }
    const marks = [element(svg, "path", { class: "normal" }), element(svg, "path", { class: "anomalous" })];
    const line = element(svg, "line", { class: "threshold", x1: left, x2: right });
    const clock = data.seconds && data.ends.length === 1;
    const apart = 90 * count / (right - left);
    const unit = clock ? [1, 5, 15, 60, 300, 900, 3600, 21600, DAY, 7 * DAY, 28 * DAY].map((s) => s / data.seconds).find((s) => s >= apart) : undefined;
    const each = unit ?? [1, 2, 5].flatMap((lead) => [...Array(9).keys()].map((power) => lead * 10 ** power)).sort((a, b) => a - b).find((step) => step >= apart) ?? count;
    for (let at = 0; at < count; at += each) {
      element(svg, "line", { class: "axis", x1: across(at), x2: across(at), y1: below, y2: below + 5 });
      element(svg, "text", { class: "faint", x: across(at), y: below + 18, "text-anchor": "middle" }, unit ? duration(at * data.seconds) : short(at));
    }
    element(svg, "text", { class: "faint", x: right, y: below + 34, "text-anchor": "end" }, unit ? "time from the first row" : "rows, by group and in the order of time");
    updates.push((now) => {
      const y = Math.max(above, up(threshold / Q));
      line.setAttribute("y1", y);
      line.setAttribute("y2", y);
      const strokes = ["", ""];
      const last = [-1, -1];
      for (let at = 0; at < count; at += 1) {
        const kind = anomalous[at];
        const x = Math.round(across(at + 0.5) * 2) / 2;
        if (scores[at] < threshold || last[kind] === x) continue;
        last[kind] = x;
        strokes[kind] += `M${x - 0.5} ${above - 14 + 7 * kind}h1v6h-1z`;
      }
      marks.forEach((mark, kind) => mark.setAttribute("d", strokes[kind]));
      box.describe(
        `The largest scores along ${count} rows. Bands are ${data.events.length} labelled events, of which ${now.found} have an alarm. ` +
        `Above stand ${now.falseAlarms} false alarms and, a little lower, ${atLeast(anomalies, threshold)} alarms in events.`);
    });
  };

  const eventName = (event) => (event.id === null ? `row ${event.row}` : `${data.idName ?? "row"} ${event.id}`);

  const eventTable = () => {
    if (!data.events.length) return;
    const shown = data.events.slice(0, 100);
    const table = html(byId("events"), "table");
    const head = html(table, "tr");
    for (const name of ["event from", "length", "largest score", "first alarm after"]) {
      html(head, "th", name).setAttribute("scope", "col");
    }
    const cells = shown.map((event) => {
      const row = html(table, "tr");
      html(row, "td", eventName(event));
      html(row, "td", rows(event.end - event.start));
      html(row, "td", `${digits(scores.subarray(event.start, event.end).reduce((a, b) => Math.max(a, b)) / Q, 4)} nats`);
      return html(row, "td");
    });
    if (shown.length < data.events.length) html(byId("events"), "p", `${data.events.length - shown.length} more events are not listed.`);
    updates.push((now) => cells.forEach((cell, at) => {
      cell.textContent = now.delays[at] === null ? "not found" : rows(now.delays[at]);
    }));
  };

  const curves = () => {
    if (!normals.length || !anomalies.length) {
      for (const id of ["roc", "pr"]) html(byId(id), "p", "The curves need both normal and anomalous rows.");
      return;
    }
    const frame = (id, across, along) => {
      const box = chart(id, 460, 360, [50, 15, 15, 45]);
      const x = (value) => box.left + (box.right - box.left) * value;
      const y = (value) => box.below - (box.below - box.above) * value;
      for (const value of [0, 0.25, 0.5, 0.75, 1]) {
        element(box.svg, "line", { class: "grid", x1: x(0), x2: x(1), y1: y(value), y2: y(value) });
        element(box.svg, "text", { class: "faint", x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, value);
        element(box.svg, "text", { class: "faint", x: x(value), y: box.below + 16, "text-anchor": "middle" }, value);
      }
      element(box.svg, "text", { class: "faint", x: box.right, y: box.below + 34, "text-anchor": "end" }, across);
      element(box.svg, "text", { class: "faint", x: 14, y: box.above, "text-anchor": "end", transform: `rotate(-90 14 ${box.above})` }, along);
      return { ...box, x, y };
    };
    const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
    const steps = [[0, 0]];
    let [alarms, hits] = [0, 0];
    order.forEach((at, rank) => {
      if (anomalous[at]) hits += 1;
      else alarms += 1;
      if (rank + 1 === count || scores[order[rank + 1]] !== scores[at]) steps.push([alarms, hits]);
    });
    const roc = frame("roc", "share of normal rows that alarm", "share of anomalous rows found");
    const pr = frame("pr", "recall", "precision");
    element(roc.svg, "line", { class: "chance", x1: roc.x(0), y1: roc.y(0), x2: roc.x(1), y2: roc.y(1) });
    const chance = anomalies.length / count;
    element(pr.svg, "line", { class: "chance", x1: pr.x(0), y1: pr.y(chance), x2: pr.x(1), y2: pr.y(chance) });
    // Points that would lie on the same pixel are left out; the areas are those of all points.
    const path = (points) => {
      let text = "";
      let last = null;
      points.forEach(([x, y], at) => {
        if (last && at + 1 < points.length && Math.hypot(x - last[0], y - last[1]) < 0.5) return;
        text += `${last ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        last = [x, y];
      });
      return text;
    };
    element(roc.svg, "path", { class: "curve", d: path(steps.map(([a, h]) => [roc.x(a / normals.length), roc.y(h / anomalies.length)])) });
    const stairs = [];
    let [auc, average] = [0, 0];
    for (let at = 1; at < steps.length; at += 1) {
      const [[a0, h0], [a1, h1]] = [steps[at - 1], steps[at]];
      auc += (a1 - a0) * (h0 + h1) / (2 * normals.length * anomalies.length);
      average += (h1 - h0) / anomalies.length * (h1 / (a1 + h1));
      const level = pr.y(h1 / (a1 + h1));
      if (h1 > h0) stairs.push([pr.x(h0 / anomalies.length), level], [pr.x(h1 / anomalies.length), level]);
    }
    element(pr.svg, "path", { class: "curve", d: path(stairs) });
    const points = [roc, pr].map((box) => element(box.svg, "circle", { class: "point", r: 5 }));
    updates.push((now) => {
      const found = atLeast(anomalies, threshold);
      const [rate, recall] = [now.falseAlarms / normals.length, found / anomalies.length];
      const precision = found + now.falseAlarms > 0 ? found / (found + now.falseAlarms) : 1;
      points[0].setAttribute("cx", roc.x(rate));
      points[0].setAttribute("cy", roc.y(recall));
      points[1].setAttribute("cx", pr.x(recall));
      points[1].setAttribute("cy", pr.y(precision));
      roc.describe(`The area is ${digits(auc, 4)}. At the threshold ${percent(rate)} of normal and ${percent(recall)} of anomalous rows alarm.`);
      pr.describe(`The average precision is ${digits(average, 4)}, by chance ${digits(chance)}. At the threshold the precision is ${digits(precision)} and the recall ${digits(recall)}.`);
    });
  };

  const causes = () => {
    if (!data.causes) {
      html(byId("causes"), "p", "There are no alarms to explain, or the blob has no score without noise.");
      return;
    }
    const shown = data.causes.features;
    const box = chart("causes", 960, 30 + 22 * shown.length, [260, 60, 5, 20]);
    const low = Math.min(0, ...shown.map(([, nats]) => nats));
    const high = Math.max(1e-9, ...shown.map(([, nats]) => nats));
    const place = (nats) => box.left + (box.right - box.left) * (nats - low) / (high - low);
    shown.forEach(([name, nats], at) => {
      const y = box.above + 22 * at;
      const label = element(box.svg, "text", { x: box.left - 8, y: y + 14, "text-anchor": "end" }, name.length > 36 ? `${name.slice(0, 35)}…` : name);
      element(label, "title", {}, name);
      element(box.svg, "rect", { class: nats < 0 ? "normal" : "anomalous", x: Math.min(place(0), place(nats)), y: y + 2, width: Math.abs(place(nats) - place(0)), height: 16 });
      element(box.svg, "text", { class: "faint", x: Math.max(place(0), place(nats)) + 5, y: y + 14 }, digits(nats));
    });
    element(box.svg, "line", { class: "axis", x1: place(0), x2: place(0), y1: box.above, y2: box.below });
    box.describe(`Largest first: ${shown.map(([name, nats]) => `${name} ${digits(nats)}`).join(", ")}.`);
    const of = data.causes.rows < data.causes.alarms ? `${data.causes.rows} of ${data.causes.alarms}` : `${data.causes.alarms}`;
    html(byId("causes"), "p", `Means over ${of} alarms of the rule and the rate that were asked for. The contributions of all features add up to the rise of the score above that of a typical row.`).className = "note";
  };

  const calibration = () => {
    const found = data.calibration;
    if (!found) {
      html(byId("pvalues"), "p", "The blob has no calibration of this score, or no row is normal.");
      return;
    }
    const box = chart("pvalues", 960, 220, [50, 15, 15, 40]);
    const even = found.normal / found.bars.length;
    const high = Math.max(...found.bars, even);
    const width = (box.right - box.left) / found.bars.length;
    const up = (value) => box.below - (box.below - box.above) * value / high;
    found.bars.forEach((value, at) => {
      const bar = element(box.svg, "rect", { class: "normal", x: box.left + at * width + 1, width: width - 2, y: up(value), height: box.below - up(value) });
      element(bar, "title", {}, `${value} rows with p up to ${digits((at + 1) / found.bars.length)}`);
    });
    element(box.svg, "line", { class: "chance", x1: box.left, x2: box.right, y1: up(even), y2: up(even) });
    for (const value of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      element(box.svg, "text", { class: "faint", x: box.left + (box.right - box.left) * value, y: box.below + 16, "text-anchor": "middle" }, value);
    }
    for (const value of ticks(0, high, up, 25)) {
      element(box.svg, "text", { class: "faint", x: box.left - 6, y: up(value) + 4, "text-anchor": "end" }, short(value));
    }
    element(box.svg, "text", { class: "faint", x: box.right, y: box.below + 34, "text-anchor": "end" }, "p-value; dashed: if they were spread evenly");
    box.describe(`${found.normal} normal rows in 20 bars of p-values: ${found.bars.join(", ")}. Spread evenly, each would have ${digits(even)}.`);
    const table = html(byId("rates"), "table");
    table.className = "numbers";
    const head = html(table, "tr");
    for (const name of ["nominal rate", "normal rows that alarm", "at most expected on average", "measured rate"]) html(head, "th", name).setAttribute("scope", "col");
    for (const [nominal, alarms, expected] of found.rates) {
      const row = html(table, "tr");
      html(row, "th", nominal).setAttribute("scope", "row");
      for (const text of [`${alarms} of ${found.normal}`, digits(expected), percent(alarms / found.normal)]) html(row, "td", text);
    }
  };

  histogram();
  timeline();
  eventTable();
  curves();
  causes();
  calibration();
  byId("slider").addEventListener("input", (event) => setThreshold(Math.round(unbend(top * event.target.value / 1000) * Q)));
  const reset = byId("reset");
  if (data.threshold === null) {
    reset.hidden = true;
  } else {
    reset.textContent = `back to the calibrated threshold of ${data.nominal}`;
    reset.addEventListener("click", () => setThreshold(data.threshold));
  }
  setThreshold(threshold);
})();
