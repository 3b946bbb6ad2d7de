// Draws a comparison: what `bitmill compare --json` writes, which stands in the page. Everything
// that a report names goes into text nodes.
"use strict";
(() => {
  const { el, svg, short, name, table, card, percent, si, bytes, NONE } = Bitmill;
  const data = JSON.parse(document.getElementById("comparison").textContent);
  const TONES = ["compute", "queue", "split", "schedule", "assemble", "encode", "decode"].map((t) => "stage stage-" + t);
  const tone = (index) => TONES[index % TONES.length];
  const toneOf = (label) => tone(data.files.findIndex((file) => file.label === label));
  const number = (value) => value === null || value === undefined ? NaN : value;
  const ratio = (value) => Number.isFinite(value) ? short(value) + " ×" : NONE;
  const cut = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

  /**
   * Horizontal bars in groups: groups: {label, bars: [{label, value, low, high, text, tone}]}; `mark`
   * is a value with a line across all of them.
   */
  function bars(figure, title, groups, mark) {
    const place = figure.querySelector(".draw");
    const width = Math.max(place.clientWidth, 240), row = 20, head = 20;
    const left = Math.min(190, width * 0.34), right = 96;
    const all = groups.flatMap((group) => group.bars);
    const highest = Math.max(...all.map((bar) => Math.max(bar.value, bar.high || 0)).filter(Number.isFinite), 1e-12);
    const height = groups.reduce((sum, group) => sum + (group.label ? head : 0) + group.bars.length * row + 6, 0);
    const said = title + ": " + groups.map((group) => (group.label ? group.label + ": " : "") +
      group.bars.map((bar) => bar.label + " " + bar.text).join(", ")).join("; ");
    const picture = svg("svg", { viewBox: "0 0 " + width + " " + height, width, height, role: "img", "aria-label": said });
    const x = (value) => left + Math.min(value / highest, 1) * (width - left - right);
    if (mark) picture.append(svg("line", { x1: x(mark), x2: x(mark), y1: 0, y2: height, class: "rail" }));
    const letters = Math.max(Math.floor(left / 7), 6);
    let y = 0;
    for (const group of groups) {
      if (group.label) {
        picture.append(svg("text", { x: 0, y: y + 14, class: "tick" }, cut(group.label, Math.floor(width / 6.5))));
        y += head;
      }
      for (const bar of group.bars) {
        picture.append(svg("text", { x: 0, y: y + 14, class: "label" }, cut(bar.label, letters), svg("title", {}, bar.label)));
        if (Number.isFinite(bar.value)) {
          picture.append(svg("rect", { x: left, y: y + 3, width: Math.max(x(bar.value) - left, 1), height: row - 7, rx: 2, class: bar.tone }));
        }
        if (bar.high > bar.low) {
          const middle = y + row / 2 - 0.5;
          picture.append(svg("line", { x1: x(bar.low), x2: x(bar.high), y1: middle, y2: middle, class: "tail" }),
            ...[bar.low, bar.high].map((end) => svg("line", { x1: x(end), x2: x(end), y1: middle - 4, y2: middle + 4, class: "tail" })));
        }
        picture.append(svg("text", { x: width, y: y + 14, "text-anchor": "end", class: "tick" }, bar.text));
        y += row;
      }
      y += 6;
    }
    place.replaceChildren(picture);
  }

  /** A chart that is drawn again when the window's width changes. */
  const drawings = [];
  function chart(grid, id, title, about, wide, draw) {
    const figure = card(id, title, about, wide);
    grid.append(figure);
    drawings.push(() => draw(figure));
  }

  function platforms() {
    const section = document.getElementById("platforms");
    const grid = el("div", { class: "grid" });
    section.append(el("h2", {}, "Platforms"), table("Platforms", [
      { title: "Platform", header: true, cell: (file) => name(file.label) },
      { title: "CPU", cell: (file) => name(file.cpu || NONE), wide: true },
      { title: "Cores", right: true, cell: (file) => short(file.cores) },
      { title: "Best instruction set", cell: (file) => name(file.isa) },
      { title: "Memory", right: true, cell: (file) => bytes(number(file.memory_bytes)) },
      { title: "System", cell: (file) => name((file.os || NONE) + ", " + (file.kernel || NONE)), wide: true },
      { title: "Backends", cell: (file) => name(file.backends.join(", ")) },
      { title: "Measured", cell: (file) => name(file.date + (file.quick ? ", quick" : "") + ", " + file.program_version) },
    ], data.files), grid);
    if (data.ranks.length) {
      chart(grid, "speed", "Speed", "Geometric mean over " + Bitmill.count(data.cases.length, "case", "cases") + ", against the first file; the line is the least and the most.", "", (figure) =>
        bars(figure, "Speed", [{ bars: data.ranks.map((rank) => ({ label: rank.label, value: rank.speed, low: rank.least, high: rank.most, text: ratio(rank.speed), tone: toneOf(rank.label) })) }]));
      chart(grid, "shares", "Share of the machine's own ceiling", "How much of what the machine could do at most the models reach; geometric mean.", "", (figure) =>
        bars(figure, "Share of ceiling", [{ bars: data.ranks.map((rank) => ({ label: rank.label, value: number(rank.machine_share), text: percent(number(rank.machine_share)), tone: toneOf(rank.label) })) }]));
    }
    chart(grid, "ceilings", "Ceilings", "What each machine can do at most, against the most of all; measured.", "full", (figure) =>
      bars(figure, "Ceilings", data.ceilings.map((row) => {
        const most = Math.max(...row.per_s.map((value) => value || 0));
        const bar = (value, i) => ({ label: data.files[i].label, value: number(value) / most, text: si(number(value), row.unit), tone: tone(i) });
        return { label: row.about + (row.threads > 1 ? ", all threads" : ", one thread"), bars: row.per_s.map(bar).filter((one) => Number.isFinite(one.value)) };
      })));
  }

  function settings() {
    if (!data.gains.length) return;
    const section = document.getElementById("settings");
    const grid = el("div", { class: "grid" });
    section.append(el("h2", {}, "Which setting pays"), grid);
    for (const file of data.files) {
      const gains = data.gains.filter((gain) => gain.label === file.label);
      if (!gains.length) continue;
      const groups = [...new Set(gains.map((gain) => gain.setting))].map((setting) => ({
        label: Bitmill.words(setting), bars: gains.filter((gain) => gain.setting === setting).map((gain) => ({
          label: gain.from + " → " + gain.to, value: gain.mean, low: gain.least, high: gain.most, text: ratio(gain.mean), tone: toneOf(gain.label) })) }));
      chart(grid, "gains-" + data.files.indexOf(file), file.label, "Rows a second with one setting changed, everything else equal; the line across is no change, the line on a bar the least and the most.",
        data.files.length > 1 ? "" : "full", (figure) => bars(figure, "Settings on " + file.label, groups, 1));
    }
  }

  const caseLabel = (one) => "batch " + one.batch + ", " + one.mode + ", " + one.precision + (one.tuned ? ", tuned" : "") + ", " + one.clock + " time";
  const MEASURES = [
    ["Rows a second", (entry) => entry.rows_per_s, (value) => si(value, "/s")],
    ["Speed against the first file", (entry) => entry.speed, ratio],
    ["Share of the machine's ceiling", (entry) => number(entry.machine_share), percent],
    ["Latency of a batch", (entry) => entry.latency_us / 1000, Bitmill.ms],
  ];
  let measure = 0;

  function cases() {
    if (!data.cases.length) return;
    const section = document.getElementById("cases");
    const grid = el("div", { class: "grid" });
    const choice = el("select", { id: "measure", onchange: (event) => {
      measure = Number(event.target.value);
      draw();
    } }, MEASURES.map(([title], i) => el("option", { value: i }, title)));
    section.append(el("h2", {}, "Models"), el("p", {}, el("label", { for: "measure" }, "Show "), choice), grid);
    [...new Set(data.cases.map((one) => one.model))].forEach((model, index) => {
      const own = data.cases.filter((one) => one.model === model);
      chart(grid, "model-" + index, model, "", "", (figure) => {
        const [title, value, format] = MEASURES[measure];
        bars(figure, title + " of " + model, own.map((one) => ({ label: caseLabel(one), bars: one.entries.map((entry, i) => ({
          label: data.files[i].label + " · " + entry.isa, value: value(entry), text: format(value(entry)), tone: tone(i) })) })));
      });
    });
  }

  const energy = (entry) => !entry.energy ? NONE
    : short(entry.energy.joules_per_row * 1e6) + " µJ ± " + percent(entry.energy.uncertainty / entry.energy.joules_per_row) + " (" + entry.energy.source + ")";

  function operations() {
    const found = [];
    for (const one of data.cases) {
      one.entries.forEach((entry, i) => {
        for (const operation of entry.operations) found.push({ model: one.model + ", " + caseLabel(one), file: data.files[i].label, ...operation });
      });
    }
    return found;
  }

  function details() {
    const rows = data.cases.flatMap((one) => one.entries.map((entry, i) => ({ one, entry, file: data.files[i] })));
    const section = document.getElementById("details");
    section.append(el("h2", {}, "Every figure"), table("Every figure", [
      { title: "Model", header: true, cell: (row) => name(row.one.model) },
      { title: "Case", cell: (row) => name(caseLabel(row.one)), wide: true },
      { title: "Platform", cell: (row) => name(row.file.label) },
      { title: "Instruction set", cell: (row) => name(row.entry.isa) },
      { title: "Threads", right: true, cell: (row) => short(row.entry.threads) },
      { title: "Batch takes", right: true, cell: (row) => Bitmill.ms(row.entry.latency_us / 1000) },
      { title: "p10 to p90", right: true, cell: (row) => Bitmill.ms(row.entry.p10_us / 1000) + " – " + Bitmill.ms(row.entry.p90_us / 1000) },
      { title: "Rows/s", right: true, cell: (row) => short(row.entry.rows_per_s) },
      { title: "Speed", right: true, cell: (row) => ratio(row.entry.speed) },
      { title: "Of the machine", right: true, cell: (row) => percent(number(row.entry.machine_share)) },
      { title: "Relative", right: true, cell: (row) => ratio(number(row.entry.relative)) },
      { title: "Energy a row", right: true, cell: (row) => energy(row.entry) },
      { title: "Weights", right: true, cell: (row) => bytes(row.entry.weight_bytes) },
    ], rows), el("details", {}, el("summary", {}, "Operations"), table("Operations", [
      { title: "Model", header: true, cell: (row) => name(row.model), wide: true },
      { title: "Platform", cell: (row) => name(row.file) },
      { title: "Operation", cell: (row) => name(row.name) },
      { title: "Kernel", cell: (row) => name(row.kernel) },
      { title: "µs a row", right: true, cell: (row) => short(row.us) },
      { title: "Share", right: true, cell: (row) => percent(row.share) },
      { title: "Bound", cell: (row) => name(row.bound) },
    ], operations())));
  }

  const draw = () => drawings.forEach((one) => one());
  document.getElementById("summary").textContent = data.files.map((file) => file.label).join(", ") + " · " + Bitmill.count(data.cases.length, "case", "cases");
  if (data.notes.length) {
    document.getElementById("notes").append(el("ul", { class: "findings quiet" }, data.notes.map((note) => el("li", {}, name(note)))));
  }
  platforms();
  settings();
  cases();
  details();
  draw();
  window.addEventListener("resize", draw);
})();
