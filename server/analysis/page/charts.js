// Charts by hand as SVG. Each draws into an element again and again, and keeps the reader's place
// (the cursor) in it. Colours come from the style sheet; shapes, dashes and words repeat what they
// say. A chart is one picture for a screen reader, with its content in words.
"use strict";
(() => {
  const { el, svg, short } = Bitmill;

  /** About `wanted` round values from low to high. */
  function ticks(low, high, wanted) {
    const span = high - low;
    if (!(span > 0)) return [low];
    const raw = span / Math.max(wanted, 1);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const values = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; ++i) values.push(i * step);
    return values;
  }

  const extremes = (values) => values.reduce(
    (found, v) => Number.isFinite(v) ? [Math.min(found[0], v), Math.max(found[1], v)] : found,
    [Infinity, -Infinity]);

  /** A card with a title and a place to draw; made once, found again by its id. */
  function card(id, title, about, wide) {
    return el("figure", { class: "card" + (wide ? " " + wide : ""), id },
      el("figcaption", {}, el("h3", {}, title), about && el("p", { class: "quiet" }, about)),
      el("div", { class: "draw" }), el("div", { class: "note" }));
  }

  function legend(entries) {
    return el("ul", { class: "legend" }, entries.map((entry) => el("li", {},
      svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" },
        entry.area ? svg("rect", { x: 0, y: 1, width: 22, height: 10, rx: 2, class: "area " + entry.tone })
          : svg("line", { x1: 0, x2: 22, y1: 6, y2: 6, class: "line " + entry.tone, "stroke-dasharray": entry.dash })),
      entry.label, entry.value && el("b", {}, entry.value))));
  }

  const widthOf = (place) => Math.max(place.clientWidth, 240);

  /** One path through the points; gaps where there is no number. */
  function path(points, step) {
    let text = "";
    let open = false;
    let last = 0;
    for (const [x, y] of points) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) {
        open = false;
        continue;
      }
      const at = x.toFixed(1) + " " + y.toFixed(1);
      text += !open ? "M" + at : step ? "L" + x.toFixed(1) + " " + last.toFixed(1) + "L" + at : "L" + at;
      last = y;
      open = true;
    }
    return text;
  }

  function band(x, y, times, low, high) {
    const rising = [], falling = [];
    times.forEach((t, i) => {
      if (!Number.isFinite(low[i]) || !Number.isFinite(high[i])) return;
      rising.push([x(t), y(high[i])]);
      falling.unshift([x(t), y(low[i])]);
    });
    return rising.length ? path(rising.concat(falling)) + "Z" : "";
  }

  const ago = (milliseconds) => {
    const s = Math.round(milliseconds / 1000);
    if (s === 0) return "now";
    const size = Math.abs(s);
    const text = size < 60 ? size + " s" : size % 60 === 0 ? size / 60 + " min" : Math.floor(size / 60) + ":" + String(size % 60).padStart(2, "0") + " min";
    return s < 0 ? "−" + text : "+" + text;
  };

  function timeTicks(from, to, now, width) {
    const spans = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].map((s) => s * 1000);
    const room = Math.max(Math.floor(width / 90), 2);
    const step = spans.find((s) => (to - from) / s <= room) || 600000;
    const values = [];
    for (let i = Math.ceil((from - now) / step); now + i * step <= to; ++i) values.push(now + i * step);
    return values;
  }

  function timeAxis(picture, x, from, to, now, bottom, width) {
    for (const t of timeTicks(from, to, now, width)) {
      picture.append(svg("line", { x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4, class: "axis" }),
        svg("text", { x: x(t), y: bottom + 17, "text-anchor": x(t) > width - 26 ? "end" : "middle", class: "tick" }, ago(t - now)));
    }
  }

  // The cursor of a chart: the pointer, or the arrow keys when the chart has the focus.
  function follow(place, draw, times) {
    place.bitmillTimes = times;
    place.bitmillDraw = draw;
    if (place.bitmillFollows) return;
    place.bitmillFollows = true;
    const move = (index, spoken) => {
      place.bitmillCursor = index;
      place.bitmillSpoken = spoken;
      place.bitmillDraw();
    };
    place.addEventListener("pointermove", (event) => {
      const scale = place.bitmillScale;
      if (!scale || !place.bitmillTimes.length) return;
      const t = scale.from + (event.clientX - place.getBoundingClientRect().left - scale.left) / scale.width * (scale.to - scale.from);
      let best = 0;
      place.bitmillTimes.forEach((time, i) => {
        if (Math.abs(time - t) < Math.abs(place.bitmillTimes[best] - t)) best = i;
      });
      move(place.bitmillTimes.length - 1 - best, false);
    });
    place.addEventListener("pointerleave", () => move(undefined, false));
    place.addEventListener("blur", () => move(undefined, false));
    place.addEventListener("keydown", (event) => {
      const last = place.bitmillTimes.length - 1;
      const now = place.bitmillCursor;
      const steps = { ArrowLeft: 1, ArrowRight: -1, PageUp: 10, PageDown: -10 };
      if (event.key in steps) {
        move(Math.min(Math.max((now === undefined ? 0 : now + steps[event.key]), 0), last), true);
      } else if (event.key === "Home" || event.key === "End") {
        move(event.key === "Home" ? last : 0, true);
      } else if (event.key === "Escape") {
        move(undefined, false);
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  /**
   * Lines over time.
   * spec: {title, now, times[], series: [{label, values[], tone, dash, area, step}], rules: [{label,
   * value, tone}], bands: [{label, times[], low[], high[], tone}], format, to, height, highest}
   */
  function timeChart(figure, spec) {
    const place = figure.querySelector(".draw");
    const draw = () => {
      const width = widthOf(place), height = spec.height || 190;
      const left = 54, right = 10, top = 10, bottom = height - 24;
      const bands = spec.bands || [], rules = (spec.rules || []).filter((r) => r.value > 0);
      const from = spec.times.length ? spec.times[0] : spec.now - 1000;
      const to = Math.max(spec.to || spec.now, from + 1000);
      const all = spec.series.flatMap((s) => s.values).concat(bands.flatMap((b) => b.high), rules.map((r) => r.value));
      let highest = Math.max(extremes(all)[1], spec.least || 0) * 1.06;
      if (!(highest > 0)) highest = 1;
      const x = (t) => left + (t - from) / (to - from) * (width - left - right);
      const y = (v) => bottom - v / highest * (bottom - top);
      const index = place.bitmillCursor === undefined ? undefined : spec.times.length - 1 - place.bitmillCursor;
      const at = index === undefined || index < 0 ? spec.times.length - 1 : index;
      const value = (s) => spec.format(s.values[at]);
      const said = spec.title + ", " + spec.series.map((s) => s.label + " " + value(s) + ", highest " + spec.format(extremes(s.values)[1])).join("; ")
        + rules.map((r) => "; " + r.label + " " + spec.format(r.value)).join("");
      const picture = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": said });
      for (const v of ticks(0, highest, (bottom - top) / 40)) {
        picture.append(svg("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: "rail" }),
          svg("text", { x: left - 7, y: y(v) + 4, "text-anchor": "end", class: "tick" }, spec.format(v)));
      }
      timeAxis(picture, x, from, to, spec.now, bottom, width);
      if (to > spec.now) {
        picture.append(svg("rect", { x: x(spec.now), y: top, width: width - right - x(spec.now), height: bottom - top, class: "ahead" }),
          svg("line", { x1: x(spec.now), x2: x(spec.now), y1: top, y2: bottom, class: "axis" }));
      }
      for (const b of bands) picture.append(svg("path", { d: band(x, y, b.times, b.low, b.high), class: "area " + b.tone }));
      for (const s of spec.series) {
        const points = spec.times.map((t, i) => [x(t), y(s.values[i])]);
        const line = path(points, s.step);
        const ends = points.filter(([, v]) => Number.isFinite(v));
        if (s.area && ends.length > 1) {
          picture.append(svg("path", { d: line + "L" + ends[ends.length - 1][0].toFixed(1) + " " + bottom + "L" + ends[0][0].toFixed(1) + " " + bottom + "Z", class: "area " + s.tone }));
        }
        picture.append(svg("path", { d: line, class: "line " + s.tone, "stroke-dasharray": s.dash }));
      }
      for (const r of rules) {
        picture.append(svg("line", { x1: left, x2: width - right, y1: y(r.value), y2: y(r.value), class: "line rule " + (r.tone || ""), "stroke-dasharray": "2 4" }),
          svg("text", { x: left + 4, y: y(r.value) - 5, class: "tick" }, r.label));
      }
      if (index !== undefined && index >= 0) {
        picture.append(svg("line", { x1: x(spec.times[at]), x2: x(spec.times[at]), y1: top, y2: bottom, class: "cursor" }),
          ...spec.series.filter((s) => Number.isFinite(s.values[at])).map((s) =>
            svg("circle", { cx: x(spec.times[at]), cy: y(s.values[at]), r: 3.5, class: "dot " + s.tone })));
      }
      place.bitmillScale = { from, to, left, width: width - left - right };
      const entries = spec.series.map((s) => ({ ...s, area: false, value: value(s) })).concat(bands.map((b) => ({ ...b, area: true })));
      const when = index === undefined ? "now" : ago(spec.times[at] - spec.now);
      show(figure, place, picture, spec.title, legend(entries), spec.times.length ? when : "", said);
    };
    follow(place, draw, spec.times);
    draw();
  }

  /** Puts a picture with a cursor into its place; what the keys move to is read out. */
  function show(figure, place, picture, title, key, when, said) {
    let words = figure.querySelector(".readout");
    if (!words) {
      words = el("div", { class: "readout" });
      figure.insertBefore(words, place);
      figure.append(el("p", { class: "unseen spoken", "aria-live": "polite" }));
      place.setAttribute("tabindex", "0");
      place.setAttribute("role", "group");
      place.setAttribute("aria-label", title + ": arrow keys read earlier and later values");
    }
    words.replaceChildren(key, el("span", { class: "when" }, when));
    place.replaceChildren(picture);
    if (place.bitmillSpoken) figure.querySelector(".spoken").textContent = when + ": " + said;
  }

  /** Which cause held when: a lane for each cause that was named. points: {t, cause, score}. */
  function causeChart(figure, spec) {
    const place = figure.querySelector(".draw");
    const times = spec.points.map((p) => p.t);
    const draw = () => {
      const width = widthOf(place);
      const left = width < 480 ? 118 : 164, right = 10, top = 4, lane = 26;
      const seconds = new Map();
      for (const p of spec.points) seconds.set(p.cause, (seconds.get(p.cause) || 0) + 1);
      const lanes = [...seconds.keys()].sort((a, b) => seconds.get(b) - seconds.get(a));
      const bottom = top + Math.max(lanes.length, 1) * lane;
      const from = times.length ? times[0] : spec.now - 1000;
      const to = Math.max(spec.now, from + 1000);
      const x = (t) => left + (t - from) / (to - from) * (width - left - right);
      const said = "Bottleneck over time: " + lanes.map((key) => Bitmill.cause(key).label + " for " + seconds.get(key) + " of " + times.length + " s").join(", ");
      const picture = svg("svg", { viewBox: "0 0 " + width + " " + (bottom + 24), width, height: bottom + 24, role: "img", "aria-label": said });
      lanes.forEach((key, i) => {
        const known = Bitmill.cause(key), y = top + i * lane;
        picture.append(svg("line", { x1: 0, x2: width - right, y1: y + lane, y2: y + lane, class: "rail" }),
          svg("text", { x: 0, y: y + 17, class: "label" }, known.symbol + " " + known.label));
        for (let start = 0; start < spec.points.length; ++start) {
          if (spec.points[start].cause !== key) continue;
          let end = start;
          while (end + 1 < spec.points.length && spec.points[end + 1].cause === key) ++end;
          const until = end + 1 < times.length ? times[end + 1] : to;
          picture.append(svg("rect", { x: x(times[start]), y: y + 5, width: Math.max(x(until) - x(times[start]), 1.5), height: lane - 10, rx: 3, class: "kind kind-" + known.kind }));
          start = end;
        }
      });
      timeAxis(picture, x, from, to, spec.now, bottom, width);
      const index = place.bitmillCursor === undefined ? undefined : times.length - 1 - place.bitmillCursor;
      const at = spec.points[index === undefined || index < 0 ? times.length - 1 : index];
      if (index !== undefined && at) picture.append(svg("line", { x1: x(at.t), x2: x(at.t), y1: top, y2: bottom, class: "cursor" }));
      place.bitmillScale = { from, to, left, width: width - left - right };
      const score = at && at.score > 0 ? ", " + Bitmill.ms(at.score) + " of p99 recoverable" : "";
      show(figure, place, picture, "Bottleneck over time", el("span", {}, at ? Bitmill.cause(at.cause).label + score : "nothing seen yet"),
        !at ? "" : index === undefined ? "now" : ago(at.t - spec.now), at ? Bitmill.cause(at.cause).label + score : "");
    };
    follow(place, draw, times);
    draw();
  }

  /**
   * Bars that begin where the one before ends. rows: {label, parts: [{value, tone, label}], start,
   * tail, text}; the tail is a thin line to where it ends in the slow cases.
   */
  function waterfall(figure, spec) {
    const place = figure.querySelector(".draw");
    const width = widthOf(place), row = spec.row || 26;
    const left = spec.left || 84, right = spec.right || 118, top = 2;
    const bottom = top + spec.rows.length * row;
    const highest = Math.max(...spec.rows.map((r) => Math.max(r.start + r.parts.reduce((sum, p) => sum + p.value, 0), r.tail || 0)), 1e-9);
    const x = (v) => left + v / highest * (width - left - right);
    const picture = svg("svg", { viewBox: "0 0 " + width + " " + (bottom + 22), width, height: bottom + 22, role: "img",
      "aria-label": spec.title + ": " + spec.rows.map((r) => r.label + " " + r.text).join("; ") });
    for (const v of ticks(0, highest, Math.max((width - left - right) / 80, 2))) {
      picture.append(svg("line", { x1: x(v), x2: x(v), y1: top, y2: bottom, class: "rail" }),
        svg("text", { x: x(v), y: bottom + 16, "text-anchor": "middle", class: "tick" }, Bitmill.ms(v)));
    }
    spec.rows.forEach((r, i) => {
      const y = top + i * row, middle = y + row / 2;
      picture.append(svg("text", { x: 0, y: middle + 4, class: "label" }, r.label));
      let at = r.start;
      if (r.tail > r.start) {
        picture.append(svg("line", { x1: x(r.start), x2: x(r.tail), y1: middle, y2: middle, class: "tail" }),
          svg("line", { x1: x(r.tail), x2: x(r.tail), y1: middle - 4, y2: middle + 4, class: "tail" }));
      }
      for (const part of r.parts) {
        if (!(part.value > 0)) continue;
        const wide = Math.max(x(at + part.value) - x(at), 1);
        picture.append(svg("rect", { x: x(at), y: y + 4, width: wide, height: row - 8, rx: Math.min(2, wide / 2), class: "stage " + part.tone },
          svg("title", {}, part.label + " " + Bitmill.ms(part.value))));
        if (wide > 9 * part.label.length + 8 && spec.inside) {
          picture.append(svg("text", { x: x(at) + wide / 2, y: middle + 4, "text-anchor": "middle", class: "inside" }, part.label));
        }
        at += part.value;
      }
      picture.append(svg("text", { x: width, y: middle + 4, "text-anchor": "end", class: "tick" }, r.text));
    });
    place.replaceChildren(picture);
  }

  const MARKS = {
    compute: (x, y, r) => "M" + (x - r) + " " + y + "a" + r + " " + r + " 0 1 0 " + 2 * r + " 0a" + r + " " + r + " 0 1 0 " + -2 * r + " 0Z",
    L2: (x, y, r) => "M" + (x - r) + " " + (y - r) + "h" + 2 * r + "v" + 2 * r + "h" + -2 * r + "Z",
    L3: (x, y, r) => "M" + x + " " + (y - 1.2 * r) + "L" + (x + 1.2 * r) + " " + (y + r) + "H" + (x - 1.2 * r) + "Z",
    memory: (x, y, r) => "M" + x + " " + (y - 1.3 * r) + "L" + (x + 1.3 * r) + " " + y + "L" + x + " " + (y + 1.3 * r) + "L" + (x - 1.3 * r) + " " + y + "Z",
  };
  const mark = (bound, x, y, r) => (MARKS[bound] || MARKS.compute)(x, y, r);

  const LINE = 13, LETTER = 6.2;  // a label's height, and a letter's width, about

  /** Where labels of flat lines go: above theirs; below where another one is there already. */
  function besideRoofs(lines) {
    const places = [];
    let last = -Infinity;
    for (const i of lines.map((_, i) => i).sort((a, b) => lines[a] - lines[b])) {
      const above = lines[i] - 5;
      last = places[i] = above >= last + LINE ? above : Math.max(lines[i], last) + LINE;
    }
    return places;
  }

  /**
   * The label of a line that rises from `begin` to `end`, along it; further up where those that were
   * placed, {along, across, length}, are in the way. All lines have one direction.
   */
  function besideSlope(text, [x0, y0], [x1, y1], placed) {
    const angle = Math.atan2(y1 - y0, x1 - x0), cos = Math.cos(angle), sin = Math.sin(angle);
    const label = { along: x0 * cos + y0 * sin + 12, across: y0 * cos - x0 * sin, length: text.length * LETTER };
    for (const other of placed.filter((o) => Math.abs(o.across - label.across) < LINE).sort((a, b) => a.along - b.along)) {
      if (label.along < other.along + other.length + 10 && other.along < label.along + label.length + 10) label.along = other.along + other.length + 10;
    }
    placed.push(label);
    const x = label.along * cos - label.across * sin, y = label.along * sin + label.across * cos;
    return svg("text", { x, y: y - 5, transform: "rotate(" + angle * 180 / Math.PI + " " + x + " " + y + ")", class: "tick over" }, text);
  }

  /**
   * Roofline on two logarithmic axes. roofs: {label, macs} flat; slopes: {label, bytes}; points: {x
   * (MACs a byte), y (MACs a second), size (0 to 1), bound, label, number}.
   */
  function roofline(figure, spec) {
    const place = figure.querySelector(".draw");
    const width = widthOf(place), height = Math.min(Math.max(width * 0.62, 240), 360);
    const left = 62, right = 14, top = 12, bottom = height - 40;
    const log = Math.log10;
    const ys = spec.points.map((p) => p.y).concat(spec.roofs.map((r) => r.macs)).filter((v) => v > 0);
    const ridges = spec.roofs.flatMap((r) => spec.slopes.map((s) => r.macs / s.bytes));
    const xs = spec.points.map((p) => p.x).concat(ridges).filter((v) => v > 0);
    if (!ys.length || !xs.length) {
      place.replaceChildren(el("p", { class: "quiet empty" }, "No operation was timed yet."));
      return;
    }
    const [x0, x1] = [Math.floor(log(Math.min(...xs)) - 0.2), Math.ceil(log(Math.max(...xs)) + 0.2)];
    const [y0, y1] = [Math.floor(log(Math.min(...ys)) - 0.15), Math.ceil(log(Math.max(...ys)) + 0.1)];
    const x = (v) => left + (log(v) - x0) / (x1 - x0) * (width - left - right);
    const y = (v) => bottom - (log(v) - y0) / (y1 - y0) * (bottom - top);
    const picture = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img",
      "aria-label": "Roofline, " + spec.points.map((p) => p.label + ": " + Bitmill.si(p.y, "MAC/s") + " at " + short(p.x) + " MACs a byte, bound by " + p.bound).join("; ") });
    for (let e = x0; e <= x1; ++e) {
      picture.append(svg("line", { x1: x(10 ** e), x2: x(10 ** e), y1: top, y2: bottom, class: "rail" }),
        svg("text", { x: x(10 ** e), y: bottom + 16, "text-anchor": "middle", class: "tick" }, Bitmill.si(10 ** e, "")));
    }
    for (let e = y0; e <= y1; ++e) {
      picture.append(svg("line", { x1: left, x2: width - right, y1: y(10 ** e), y2: y(10 ** e), class: "rail" }),
        svg("text", { x: left - 7, y: y(10 ** e) + 4, "text-anchor": "end", class: "tick" }, Bitmill.si(10 ** e, "")));
    }
    picture.append(svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle", class: "tick" }, "multiply-accumulates a byte"),
      svg("text", { x: 12, y: (top + bottom) / 2, "text-anchor": "middle", transform: "rotate(-90 12 " + (top + bottom) / 2 + ")", class: "tick" }, "MAC/s, one core"));
    const tallest = Math.max(...spec.roofs.map((r) => r.macs), 0) || 10 ** y1;
    const labels = [], placed = [];
    spec.slopes.forEach((s) => {
      // From where it enters the picture to where it meets the highest roof.
      const begin = Math.max(10 ** x0, 10 ** y0 / s.bytes), end = Math.min(10 ** x1, tallest / s.bytes);
      if (!(end > begin)) return;
      picture.append(svg("line", { x1: x(begin), y1: y(begin * s.bytes), x2: x(end), y2: y(end * s.bytes), class: "roof", "stroke-dasharray": s.dash }));
      labels.push(besideSlope(s.label, [x(begin), y(begin * s.bytes)], [x(end), y(end * s.bytes)], placed));
    });
    const heights = besideRoofs(spec.roofs.map((r) => y(r.macs)));
    spec.roofs.forEach((r, i) => {
      const begin = Math.max(10 ** x0, spec.slopes.length ? r.macs / Math.max(...spec.slopes.map((s) => s.bytes)) : 0);
      picture.append(svg("line", { x1: x(begin), x2: width - right, y1: y(r.macs), y2: y(r.macs), class: "roof" }));
      labels.push(svg("text", { x: width - right - 2, y: heights[i], "text-anchor": "end", class: "tick over" }, r.label));
    });
    picture.append(...labels);
    const radiusOf = (p) => 5 + 8 * Math.sqrt(Math.min(Math.max(p.size, 0), 1));
    const points = spec.points.slice().sort((a, b) => b.size - a.size);  // small ones on top
    for (const p of points) {
      const radius = radiusOf(p);
      picture.append(svg("path", { d: mark(p.bound, x(p.x), y(p.y), radius), class: "point bound-" + p.bound },
        svg("title", {}, p.label + ", " + Bitmill.si(p.y, "MAC/s"))));
    }
    // One label for points that lie so close that theirs would.
    const groups = [];
    for (const p of spec.points) {
      const near = groups.find((g) => Math.abs(x(p.x) - x(g[0].x)) < 30 && Math.abs(y(p.y) - y(g[0].y)) < 12);
      if (near) near.push(p);
      else groups.push([p]);
    }
    for (const g of groups) {
      const radius = Math.max(...g.map(radiusOf)), inside = g.length === 1 && radius >= 7.5;
      const [first, last] = extremes(g.map((p) => x(p.x))), text = g.map((p) => p.number).join(", ");
      const left = last + radius + 4 + 6 * text.length > width;
      picture.append(svg("text", { x: inside ? first : left ? first - radius - 4 : last + radius + 4, y: y(g[0].y) + 4,
        "text-anchor": inside ? "middle" : left ? "end" : "start", class: inside ? "number" : "number beside" }, text));
    }
    place.replaceChildren(picture);
  }

  Object.assign(Bitmill, { card, legend, timeChart, causeChart, waterfall, roofline, mark });
})();
