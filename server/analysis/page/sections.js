// The parts of the page, each drawn from a report and, for one model, its timeline. Cards are made
// once and filled again, so that the focus and the cursor stay where the reader put them.
"use strict";
(() => {
  const { num, known, short, ms, percent, si, bytes, seconds, clock, el, svg, name, chip, words, table, facts } = Bitmill;

  const keyOf = (model) => model.name + "/" + (model.version || "0");
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  /** The card with this id in `section`, made when it is not there. */
  function cardIn(section, id, title, about, wide) {
    return document.getElementById(id) || section.appendChild(Bitmill.card(id, title, about, wide));
  }
  function fill(figure, ...content) {
    figure.querySelector(".draw").replaceChildren(...content.flat().filter(Boolean));
  }
  function note(figure, ...content) {
    figure.querySelector(".note").replaceChildren(...content.flat().filter(Boolean));
  }
  const empty = (text) => el("p", { class: "quiet empty" }, text);

  /** Replaces what a section shows; a long list in it stays scrolled to where the reader left it. */
  function refill(section, ...content) {
    const old = section.querySelector(".list");
    const [top, left] = old ? [old.scrollTop, old.scrollLeft] : [0, 0];
    section.replaceChildren(...content);
    const list = section.querySelector(".list");
    if (!list) return;
    const chosen = list.querySelector(".chosen");
    const seen = old || !chosen || chosen.offsetTop + chosen.offsetHeight <= list.clientHeight;
    list.scrollTo(left, seen ? top : chosen.offsetTop - list.clientHeight / 2);
  }

  function meter(share, label, tone) {
    const bar = el("span", { class: "meter " + (tone || ""), role: "img", "aria-label": label });
    const filled = el("span", {});
    filled.style.width = Math.min(Math.max(share, 0), 1) * 100 + "%";
    bar.append(filled);
    return bar;
  }

  function headroom(model) {
    const forecast = model.forecast || {};
    if (!(num(forecast.capacity_rows_per_s) > 0)) return Bitmill.NONE;
    const share = num(forecast.headroom);
    const tone = share < 0.05 ? "bad" : share < 0.2 ? "warn" : "good";
    return el("span", { class: "pair" }, meter(share < 0 ? 1 : share, percent(share) + " headroom", tone), el("span", {}, percent(share)));
  }

  function saturation(forecast) {
    if (!(num((forecast || {}).capacity_rows_per_s) > 0)) return Bitmill.NONE;  // nothing was forecast
    const until = num(forecast.seconds_to_saturation);
    if (!(until >= 0)) return Bitmill.NONE;
    return until === 0 ? "now" : "in " + seconds(until);
  }

  function warnings(section, report) {
    const held = report.warnings || [];
    if (!held.length) {
      section.replaceChildren();
      return;
    }
    refill(section, el("h2", {}, Bitmill.count(held.length, "warning", "warnings")), el("ul", { class: "notices list", tabindex: held.length > 6 && "0" }, held.map((warning) =>
      el("li", { class: "notice bad" }, el("span", { "aria-hidden": "true" }, "⚠ "), el("b", {}, words(warning.reason)), " ",
        warning.model ? name(warning.model + "/" + warning.version) : "host", el("span", { class: "quiet" }, " since " + clock(warning.raised_unix_ms)),
        el("p", {}, warning.message)))));
  }

  function models(section, report, chosen, choose) {
    const rows = report.models || [];
    if (!rows.length) {
      section.replaceChildren(el("h2", {}, "Models"), empty("No model is loaded, or none was seen yet."));
      return;
    }
    const focused = document.activeElement && document.activeElement.dataset.model;
    const columns = [
      { title: "Model", header: true, cell: (m) => el("button", { type: "button", class: "choose", "data-model": keyOf(m), "aria-pressed": String(keyOf(m) === chosen), onclick: () => choose(keyOf(m)) }, name(m.name), el("span", { class: "quiet" }, " v" + m.version)) },
      { title: "Answered/s", right: true, cell: (m) => short(num(m.answered_per_s)) },
      { title: "Lost/s", about: "refused, expired or failed", right: true, cell: (m) => short(sum([m.refused_per_s, m.expired_per_s, m.failed_per_s].map((v) => num(v) || 0))) },
      { title: "p50", right: true, cell: (m) => ms(num((m.latency || {}).p50_ms)) },
      { title: "p99", right: true, cell: (m) => {
        const late = num(m.objective_p99_ms) > 0 && num((m.latency || {}).p99_ms) > num(m.objective_p99_ms);
        return el("span", { class: late && "late" }, ms(num((m.latency || {}).p99_ms)), late && el("span", { title: "above the objective" }, " ▲", el("span", { class: "unseen" }, "above the objective")));
      } },
      { title: "Batch", right: true, cell: (m) => short(num(m.mean_batch_rows)) },
      { title: "Queue", right: true, cell: (m) => short(num(m.queue_depth)) },
      { title: "Bottleneck", wide: true, cell: (m) => num(m.offered_per_s) > 0 ? chip((m.diagnosis || {}).cause) : el("span", { class: "quiet" }, "idle") },
      { title: "Headroom", cell: headroom },
      { title: "Saturates", cell: (m) => saturation(m.forecast) },
    ];
    refill(section, el("h2", {}, Bitmill.count(rows.length, "model", "models")),
      table("Models with rates, latencies, bottleneck and headroom; choose one to see why", columns, rows,
        { class: "cards models", scroll: "list", row: (m) => ({ class: keyOf(m) === chosen ? "chosen" : "" }) }));
    if (focused) [...section.querySelectorAll("[data-model]")].filter((b) => b.dataset.model === focused).forEach((b) => b.focus({ preventScroll: true }));
  }

  function diagnosis(figure, model) {
    if (!(num(model.offered_per_s) > 0)) return fill(figure, empty("Idle: no request came lately."));
    const found = model.diagnosis || {};
    const cause = Bitmill.cause(found.cause);
    const findings = found.findings || [];
    const most = Math.max(...findings.map((f) => num(f.recoverable_p99_ms)), 1e-9);
    // As clients see it: not the p99 of the server alone.
    const judged = num(found.p99_ms) > 0 ? " of p99 " + ms(num(found.p99_ms)) : " of p99";
    fill(figure,
      el("p", { class: "verdict" }, chip(found.cause), el("span", {}, cause.about), el("span", { class: "quiet" }, "confidence " + percent(num(found.confidence)))),
      findings.length === 0 ? empty("No cause would give back a measurable part of p99.") :
        el("ol", { class: "findings" }, findings.map((f) => el("li", {},
          el("div", { class: "pair" }, el("b", {}, Bitmill.cause(f.cause).label), meter(num(f.recoverable_p99_ms) / most, ms(num(f.recoverable_p99_ms)) + judged, "accent"),
            el("span", { class: "nowrap" }, ms(num(f.recoverable_p99_ms)) + judged)),
          f.evidence && el("p", {}, f.evidence),
          f.advice && el("p", { class: "advice" }, el("span", { "aria-hidden": "true" }, "→ "), f.advice)))));
  }

  function stages(figure, model) {
    let at = 0;
    const all = model.stages || [];
    const formation = num((all.find((s) => s.stage === "formation") || {}).mean_ms) || 0;
    const rows = all.filter((s) => s.stage !== "formation").map((s) => {
      const mean = num(s.mean_ms) || 0, start = at;
      at += mean;
      const parts = s.stage === "queue" && formation > 0
        ? [{ value: Math.max(mean - formation, 0), tone: "stage-queue", label: "queue" }, { value: formation, tone: "stage-formation", label: "formation" }]
        : [{ value: mean, tone: "stage-" + s.stage, label: s.stage }];
      return { label: s.stage, parts, start, tail: num(s.p99_ms) > 0 ? start + num(s.p99_ms) : 0,
        text: ms(mean) + (num(s.p99_ms) > 0 ? " · p99 " + ms(num(s.p99_ms)) : "") };
    });
    if (!(at > 0)) {
      note(figure);
      return fill(figure, empty("No request was answered in this window."));
    }
    Bitmill.waterfall(figure, { title: "Mean time of each stage", rows, right: 150 });
    note(figure, formation > 0 && el("p", { class: "quiet" }, "Of the queue, " + ms(formation) + " were spent waiting for company while an instance was free (hatched)."));
  }

  function requests(figure, timeline) {
    const all = (timeline && timeline.requests) || [];
    if (!all.length) return fill(figure, empty("No request was sampled yet."));
    const rows = all.slice(0, 24).map((r, i) => {
      const parts = (r.stages || []).filter((s) => s.stage !== "formation" && s.stage !== "write")
        .map((s) => ({ value: num(s.mean_ms) || 0, tone: "stage-" + s.stage, label: s.stage }));
      const longest = parts.reduce((best, p) => p.value > best.value ? p : best, { value: 0, label: "" });
      return { label: "#" + (i + 1) + (r.code && r.code !== "OK" ? " " + r.code : ""), parts, start: 0,
        text: ms(num(r.total_ms)) + " · " + longest.label, request: r };
    });
    Bitmill.waterfall(figure, { title: "Sampled requests", rows, row: 20, left: 44, right: 132, inside: true });
    const used = ["decode", "queue", "assemble", "schedule", "compute", "split", "encode"];
    let more = figure.querySelector("details");
    if (!more) {
      more = el("details", {}, el("summary", {}, "As a table"), el("div", {}));
      note(figure, el("ul", { class: "legend" }, used.map((s) => el("li", {},
        svg("svg", { viewBox: "0 0 12 12", class: "small", "aria-hidden": "true" }, svg("rect", { width: 12, height: 12, rx: 2, class: "stage stage-" + s })), s))), more);
    }
    more.lastElementChild.replaceChildren(table("Sampled requests", [
      { title: "Request", header: true, cell: (r) => r.label }, { title: "Started after", right: true, cell: (r) => ms(num(r.request.start_ms)) },
      { title: "Total", right: true, cell: (r) => ms(num(r.request.total_ms)) }, { title: "Rows", right: true, cell: (r) => short(num(r.request.rows)) },
      { title: "In a batch of", right: true, cell: (r) => short(num(r.request.batch_rows)) }, { title: "Batch closed", cell: (r) => words(r.request.batch_closed) },
      { title: "Code", cell: (r) => r.request.code || "OK" }], rows));
  }

  function history(section, model, timeline, report) {
    const points = (timeline && timeline.points) || [];
    const times = points.map((p) => num(p.unix_millis));
    const now = times.length ? times[times.length - 1] : num(report.unix_millis);
    const column = (field) => points.map((p) => num(p[field]));
    const about = { now, times };
    Bitmill.causeChart(cardIn(section, "lanes", "Bottleneck over time", "A lane for each cause that was named.", "full"),
      { now, points: points.map((p, i) => ({ t: times[i], cause: p.cause || "HEALTHY", score: num(p.cause_score_ms) })) });
    Bitmill.timeChart(cardIn(section, "latency", "Latency"), { ...about, title: "Latency", format: ms, series: [
      { label: "p99", values: column("p99_ms"), tone: "tone-a", area: true }, { label: "p50", values: column("p50_ms"), tone: "tone-b", dash: "6 3" }],
      rules: [{ label: "objective " + ms(num(model.objective_p99_ms)), value: num(model.objective_p99_ms), tone: "tone-bad" }] });
    Bitmill.timeChart(cardIn(section, "rates", "Requests a second"), { ...about, title: "Requests a second", format: short, series: [
      { label: "offered", values: column("offered_per_s"), tone: "tone-b", dash: "6 3" }, { label: "answered", values: column("answered_per_s"), tone: "tone-a" },
      { label: "within the objective", values: column("goodput_per_s"), tone: "tone-c", dash: "2 3" }] });
    Bitmill.timeChart(cardIn(section, "queue", "Queue depth"), { ...about, title: "Queue depth", format: short, least: 1, series: [
      { label: "requests waiting", values: column("queue_depth"), tone: "tone-a", area: true }] });
    const closed = Object.entries(model.batch_closed || {}).map(([why, share]) => [why, num(share)]).filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);
    const batches = cardIn(section, "batches", "Batch size");
    Bitmill.timeChart(batches, { ...about, title: "Batch size", format: short, least: 1, series: [
      { label: "mean rows", values: column("mean_batch_rows"), tone: "tone-a", area: true }],
      rules: [{ label: "max " + short(num((model.controls || {}).max_rows)), value: num((model.controls || {}).max_rows) }] });
    note(batches, el("p", { class: "quiet" }, closed.length ? "Closed because: " + closed.map(([why, share]) => why.replaceAll("_", " ") + " " + percent(share)).join(", ") + "." : "No batch was closed in this window."));
  }

  const LIMITS = { instances: "the instances", io_threads: "receiving and answering", cpus: "the CPUs" };

  function forecast(section, model, timeline, report) {
    const points = (timeline && timeline.points) || [];
    const ahead = model.forecast || {};
    const horizon = (num(ahead.horizon_seconds) || 0) * 1000;
    const times = points.map((p) => num(p.unix_millis));
    const now = times.length ? times[times.length - 1] : num(report.unix_millis);
    const column = (field) => points.map((p) => num(p[field]));
    const shifted = points.filter((p) => num(p.unix_millis) + horizon >= (times[0] || 0) && num(p.demand_ahead_high) > 0);
    const figure = cardIn(section, "forecast", "Demand against capacity", "The band is what was forecast for each moment " + seconds(horizon / 1000) + " before it, at 90 %.", "half");
    Bitmill.timeChart(figure, { title: "Demand against capacity, rows a second", now, times, to: now + horizon, height: 240, format: (v) => short(v), series: [
      { label: "demand", values: column("demand_rows_per_s"), tone: "tone-a" },
      { label: "capacity", values: column("capacity_rows_per_s").map((v) => v > 0 ? v : NaN), tone: "tone-bad", dash: "8 3", step: true }],
      bands: [{ label: "forecast", times: shifted.map((p) => num(p.unix_millis) + horizon), low: shifted.map((p) => num(p.demand_ahead_low)), high: shifted.map((p) => num(p.demand_ahead_high)), tone: "tone-c" }] });
    const until = saturation(ahead);
    note(figure, facts([
      ["Headroom", num(ahead.capacity_rows_per_s) > 0 ? percent(num(ahead.headroom)) : Bitmill.NONE, "1 − demand ahead / capacity" + (ahead.split_known || !(num(ahead.capacity_rows_per_s) > 0) ? "" : "; a and b not told apart yet")],
      num(ahead.capacity_rows_per_s) > 0 && ahead.capacity_limit && ["Capacity limited by", LIMITS[ahead.capacity_limit] || String(ahead.capacity_limit), num(ahead.receive_ms) > 0 && "receiving and answering a request: " + ms(num(ahead.receive_ms))],
      ["Saturates", until, "when the forecast demand meets the capacity"],
      num(ahead.seconds_to_saturation) > 0 && ["Between", seconds(num(ahead.seconds_to_saturation_low)) + " and " + (num(ahead.seconds_to_saturation_high) >= 0 ? seconds(num(ahead.seconds_to_saturation_high)) : "later")],
      ["p99 predicted", num(ahead.predicted_p99_ms) > 0 ? ms(num(ahead.predicted_p99_ms)) : Bitmill.NONE, "from the service line and the demand now"]]));
  }

  const ROOFS = [["bit_macs_per_s", "1 bit"], ["lowbit_int8_macs_per_s", "low-bit × int8"], ["fp32_macs_per_s", "fp32"]];
  const SLOPES = [["l1_bytes_per_s", "L1", "1 3"], ["l2_bytes_per_s", "L2", "7 3"], ["l3_bytes_per_s", "L3", "4 3"], ["dram_bytes_per_s", "memory", ""]];

  function roofline(section, model, report) {
    const figure = cardIn(section, "roofline", "Roofline", "A point for each operation: as large as its share of the time, shaped by what bounds it.", "full");
    const limits = (report.machine || {}).limits || {};
    const operations = (model.operations || []).map((o, i) => {
      const rows = num(o.mean_rows) || 1, macs = num(o.row_macs) * rows, moved = num(o.row_bytes) * rows + num(o.weight_bytes);
      return { number: i + 1, label: String(o.name), kernel: o.kernel, x: macs / moved, y: macs / (num(o.mean_us) * 1e-6), size: num(o.time_share) || 0, bound: o.bound || "compute", operation: o };
    });
    Bitmill.roofline(figure, {
      points: operations.filter((p) => p.x > 0 && p.y > 0 && Number.isFinite(p.x + p.y)),
      roofs: ROOFS.filter(([key]) => num(limits[key]) > 0).map(([key, label]) => ({ label: label + " " + si(num(limits[key]), "MAC/s"), macs: num(limits[key]) })),
      slopes: SLOPES.filter(([key]) => num(limits[key]) > 0).map(([key, label, dash]) => ({ label: label + " " + si(num(limits[key]), "B/s"), bytes: num(limits[key]), dash })),
    });
    if (!operations.length) return note(figure);
    const measured = ROOFS.concat(SLOPES).some(([key]) => num(limits[key]) > 0);
    const symbol = (bound) => svg("svg", { viewBox: "0 0 16 16", class: "small", "aria-hidden": "true" }, svg("path", { d: Bitmill.mark(bound, 8, 8, 5), class: "point bound-" + bound }));
    note(figure, !measured && el("p", { class: "quiet" }, "The machine's limits were not measured: ", el("code", {}, "bitmill serve --measure-machine"), " does."), table("Operations", [
      { title: "#", cell: (p) => String(p.number) }, { title: "Operation", header: true, cell: (p) => name(p.label) }, { title: "Kernel", cell: (p) => name(p.kernel || "") },
      { title: "Time", right: true, cell: (p) => ms(num(p.operation.mean_us) / 1000) }, { title: "Share", right: true, cell: (p) => percent(p.size) },
      { title: "Of its limit", right: true, cell: (p) => percent(known(p.operation.share_of_limit)) },
      { title: "Bound", cell: (p) => el("span", { class: "nowrap" }, symbol(p.bound), " " + p.bound) }], operations, { class: "small-text" }));
  }

  const REASONS = {
    fastest: "takes the least time there", drift: "the fastest at the load has become slower, or this one faster", queue: "faster ones have other batches to finish first",
    probe: "to see whether it has become faster", last: "all others have failed", energy: "takes less energy there" };

  /** A card that is there only while `shown` says something. */
  function cardWhile(section, shown, id, title, about) {
    if (shown) return cardIn(section, id, title, about, "full");
    for (const old of section.querySelectorAll("#" + id)) old.remove();
    return null;
  }

  function routing(section, model) {
    const backends = (model.routing || {}).backends || [];
    const figure = cardWhile(section, backends.length, "routing", "Where batches go", "What a batch of so many rows is predicted to take on each backend now, as it was measured at the load, and where it would be sent.");
    if (!figure) return;
    const micros = (value) => short(num(value)) + " µs";
    const chosen = (size, i) => size.goes_to === backends[i].backend;
    fill(figure, table("Predicted time of a batch by backend", [
      { title: "Rows", header: true, right: true, cell: (s) => short(num(s.rows)) },
      ...backends.map((b, i) => ({ title: b.backend, right: true, cell: (s) => el("span", { title: "measured at the load: " + micros((s.measured_us || [])[i]) }, chosen(s, i) ? el("b", {}, micros((s.predicted_us || [])[i])) : micros((s.predicted_us || [])[i])) })),
      { title: "Goes to", cell: (s) => name(s.goes_to) },
      { title: "Why", cell: (s) => el("span", { title: REASONS[s.reason] }, words(s.reason)) }], model.routing.sizes || [], { class: "cards small-text" }));
    note(figure, facts(backends.map((b) => [b.backend, percent(num(b.recent_share)) + " of batches lately" + (b.failed ? " – failed" : ""),
      short(num(b.batches)) + " batches since the load: " + (Object.entries(b.reasons || {}).map(([why, n]) => why + " " + short(num(n))).join(", ") || "none")]).concat(
      backends.map((b) => ["Drift of " + b.backend, short(num(b.drift)) + " ×", "time of batches of late over the time measured at the load"]),
      backends.slice(1).map((b) => ["Break-even of " + b.backend, num(b.break_even_rows) > 0 ? short(num(b.break_even_rows)) + " rows" : "never", "faster than the CPU from there on, as measured at the load"]))));
  }

  function division(section, model) {
    const parts = (model.division || {}).parts || [];
    const figure = cardWhile(section, parts.length, "division", "Parts of the model", "Divided: " + words((model.division || {}).mode).toLowerCase() + ".");
    if (!figure) return;
    const rows = model.division.mode === "data";
    fill(figure, table("Parts of the model", [
      { title: "Part", header: true, cell: (p) => name(p.name) }, { title: "On", cell: (p) => name(p.backend) },
      { title: "MAC a row", right: true, cell: (p) => si(num(p.row_macs), "") }, { title: "Weights", right: true, cell: (p) => bytes(num(p.weight_bytes)) },
      rows ? { title: "Rows", about: "of the largest batch", right: true, cell: (p) => short(num(p.rows)) }
        : { title: "Hands over", about: "of a row, to other parts", right: true, cell: (p) => bytes(num(p.handed_bytes)) },
      rows && { title: "Drift", about: "time of late over the time measured at the load", right: true, cell: (p) => short(num(p.drift)) + " ×" }].filter(Boolean), parts, { class: "cards small-text" }));
  }

  function settings(section, model) {
    const controls = model.controls || {}, line = model.line || {};
    const drift = [line.a_drifted && "a", line.b_drifted && "b"].filter(Boolean).join(" and ");
    fill(cardIn(section, "settings", "Settings and checks"), facts([
      ["Largest batch", short(num(controls.max_rows)) + " rows"], ["Longest wait for company", ms(num(controls.max_delay_ms))],
      ["Instances", short(num(controls.instances))], ["Queue limit", short(num(controls.max_queue_requests)) + " requests"],
      ["Admitted within", num(controls.admit_within_ms) > 0 ? ms(num(controls.admit_within_ms)) : "no limit"],
      ["Objective", num(model.objective_p99_ms) > 0 ? "p99 within " + ms(num(model.objective_p99_ms)) : "none stated"],
      ["An execution of n rows", num(line.samples) > 0 ? ms(num(line.a_ms)) + " + " + ms(num(line.b_ms)) + " · n" : Bitmill.NONE, (line.split_known ? "" : "a and b not told apart yet: right for the batches seen; ") + "fitted online, root mean square error " + percent(num(line.relative_error))],
      ["Drift", drift ? drift + " moved" : "none"],
      ["Instances busy", percent(num(model.busy_share))], ["Of the machine's limit", percent(known(model.share_of_limit))],
      ["Requests in the server", short(num(model.in_system))],
      ["Stages add up within", percent(Math.abs(num(model.stage_sum_error))), "self-check: sum of the stages against the total"],
      ["Little's law within", percent(Math.abs(num(model.little_error))), "self-check: requests in the server against rate times latency"]]));
  }

  function confusion(quality) {
    const classes = quality.classes || [], cells = (quality.confusion || []).map(num), n = classes.length;
    if (!n || cells.length !== n * n) return null;
    const wrong = classes.map((_, i) => sum(classes.map((__, j) => i === j ? 0 : cells[i * n + j] + cells[j * n + i])));
    const kept = classes.map((_, i) => i).sort((a, b) => wrong[b] - wrong[a]).slice(0, 16).sort((a, b) => a - b);
    const total = (i) => sum(classes.map((_, j) => cells[i * n + j]));
    const heat = (share) => "heat heat-" + (share > 0 ? Math.min(1 + Math.floor(share * 9), 9) : 0);
    return el("div", { class: "scroll" }, el("table", { class: "matrix" },
      el("caption", {}, "True class down, predicted across; stronger: a larger share of the row." + (n > kept.length ? " The " + kept.length + " of " + n + " classes with most mistakes." : "")),
      el("thead", {}, el("tr", {}, el("td", {}), kept.map((j) => el("th", { scope: "col" }, el("span", {}, name(classes[j])))))),
      el("tbody", {}, kept.map((i) => el("tr", {}, el("th", { scope: "row" }, name(classes[i])), kept.map((j) => {
        const value = cells[i * n + j];
        return el("td", { class: heat(value / Math.max(total(i), 1)) + (i === j ? " right-answer" : "") }, value > 0 ? short(value) : "");
      }))))));
  }

  function quality(section, model) {
    const q = model.quality;
    if (!q) {
      for (const old of section.querySelectorAll("#quality")) old.remove();
      return;
    }
    const psi = (value) => {
      const v = known(value);
      return short(v) + (v > 0.25 ? " – moved" : v > 0.1 ? " – moving" : v >= 0 ? " – steady" : "");
    };
    const labelled = num(q.labels) > 0;
    fill(cardIn(section, "quality", "Answers", "From labels sent back, and from inputs and predictions against the reference.", "full"), el("div", { class: "split" }, facts([
      ["Labels", short(num(q.labels)), "in the rolling window"],
      labelled && ["Accuracy", percent(num(q.accuracy))], labelled && ["Macro F1", short(num(q.macro_f1))], labelled && ["Precision", short(num(q.macro_precision))], labelled && ["Recall", short(num(q.macro_recall))],
      labelled && ["Calibration error", short(known(q.calibration_error))],
      ["Input drift, PSI", psi(q.input_psi), "of the worst feature; above 0.25 is a large change"], ["Input drift, KS", short(known(q.input_ks))], ["Prediction drift, PSI", psi(q.prediction_psi)],
      ["Thresholds within one count", percent(known(q.sign_flip_share))], ["Not a number", percent(known(q.not_a_number_share))], ["Out of range", percent(known(q.out_of_range_share))], ["Outliers", percent(known(q.outlier_share))],
      num(q.shadow_version) > 0 && ["Shadow version " + q.shadow_version, percent(num(q.shadow_agreement)) + " agree of " + short(num(q.shadow_compared))]]), confusion(q)));
  }

  function model(section, report, chosen, timeline) {
    const shown = (report.models || []).find((m) => keyOf(m) === chosen);
    if (!shown) {
      section.replaceChildren();
      return;
    }
    let grid = section.querySelector(".grid");
    if (!grid || section.dataset.model !== chosen) {
      section.dataset.model = chosen;
      section.replaceChildren(el("h2", {}, name(shown.name), el("span", { class: "quiet" }, " version " + shown.version)), grid = el("div", { class: "grid" }));
    }
    diagnosis(cardIn(grid, "diagnosis", "What holds it up", "", "half"), shown);
    stages(cardIn(grid, "stages", "Where the time goes", "Mean of each stage, one after the other; the thin line reaches its p99.", "half"), shown);
    history(grid, shown, timeline, report);
    forecast(grid, shown, timeline, report);
    settings(grid, shown);
    roofline(grid, shown, report);
    routing(grid, shown);
    division(grid, shown);
    requests(cardIn(grid, "requests", "Sampled requests", "Each from its arrival, the slowest included.", "full"), timeline);
    quality(grid, shown);
  }

  function host(section, report) {
    const h = report.host;
    if (!h) return section.replaceChildren();
    const memory = num(h.memory_limit_bytes) > 0 ? bytes(num(h.memory_used_bytes)) + " of " + bytes(num(h.memory_limit_bytes)) : bytes(num(h.memory_used_bytes) || num(h.resident_bytes)) + ", no limit";
    const budget = num((report.machine || {}).budget_cores);
    const found = (h.diagnosis || {}).findings || [];
    section.replaceChildren(el("h2", {}, "Host"), el("div", { class: "card" },
      el("p", { class: "verdict" }, chip((h.diagnosis || {}).cause), found.length ? el("span", {}, found[0].evidence) : null, found.length && found[0].advice ? el("span", { class: "advice" }, "→ " + found[0].advice) : null),
      facts([
        ["CPU of this process", short(num(h.process_cpu_cores)) + (budget > 0 ? " of " + short(budget) : "") + " cores"],
        ["CPU of the machine", short(known(h.machine_busy_cores)) + " of " + short(num(h.machine_cores)) + " cores"],
        ["Held back by its quota", percent(known(h.throttled_share))], ["Waited for a CPU", short(known(h.run_queue_wait_cores)) + " cores", "threads ready but not running"],
        ["Stolen by the hypervisor", percent(known(h.steal_share))],
        ["Pressure: CPU", percent(known(h.psi_cpu_some)), "share of time that some task waited"], ["Pressure: memory", percent(known(h.psi_memory_some))], ["Pressure: disk", percent(known(h.psi_io_some))],
        ["Major faults", short(known(h.major_faults_per_s)) + "/s"], ["Memory", memory], ["Resident", bytes(num(h.resident_bytes))],
        ["Descriptors", short(num(h.open_fds)) + " of " + short(num(h.max_fds))]])));
  }

  function changes(section, report) {
    const all = (report.adaptations || []).slice().reverse();
    if (!all.length) return section.replaceChildren();
    const outcome = (a) => a.rolled_back ? "rolled back" : a.applied ? "applied" : "advice";
    section.replaceChildren(el("h2", {}, "Changes of settings"), table("Changes of settings, newest first", [
      { title: "When", header: true, cell: (a) => clock(a.unix_ms) }, { title: "Model", cell: (a) => name(a.model + "/" + a.version) },
      { title: "Setting", cell: (a) => words(a.control) }, { title: "From", right: true, cell: (a) => short(num(a.from)) }, { title: "To", right: true, cell: (a) => short(num(a.to)) },
      { title: "What became of it", cell: (a) => el("span", { class: "tag " + (a.rolled_back ? "bad" : a.applied ? "good" : "") }, outcome(a)) },
      { title: "Predicted", right: true, cell: (a) => short(num(a.predicted_goodput_per_s)) + "/s" },
      { title: "Realized", right: true, cell: (a) => known(a.realized_goodput_per_s) >= 0 ? short(num(a.realized_goodput_per_s)) + "/s" : "not yet" },
      { title: "Reason", cell: (a) => String(a.reason || "") }], all));
  }

  function machine(place, report) {
    const m = report.machine || {};
    const parts = [report.server_version && "version " + report.server_version, m.cpu, m.isa, num(m.budget_cores) > 0 && Bitmill.count(num(m.budget_cores), "core", "cores"), num(report.window_seconds) > 0 && "window " + seconds(num(report.window_seconds)),
      num(report.records_dropped) > 0 && short(num(report.records_dropped)) + " records dropped"];
    place.textContent = parts.filter(Boolean).join(" · ");
  }

  Object.assign(Bitmill, { keyOf, warnings, models, model, host, changes, machine });
})();
