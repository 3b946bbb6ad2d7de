// Numbers, words and elements. The report is protobuf's JSON: 64-bit integers come as text, and -1
// stands for what could not be measured. Everything that a server names goes into text nodes.
"use strict";
var Bitmill = {};
(() => {
  const NONE = "–";

  /** A number of the report; NaN where there is none. */
  function num(value) {
    if (value === undefined || value === null || value === "") return NaN;
    return Number(value);
  }

  /** As num(), but NaN for what could not be measured (negative). */
  function known(value) {
    const number = num(value);
    return number >= 0 ? number : NaN;
  }

  /** Three digits that matter, with separators. */
  function short(value) {
    if (!Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    const digits = size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 3;
    const text = value.toFixed(digits);
    return Number(text).toLocaleString("en", {
      minimumFractionDigits: Number.isInteger(value) ? 0 : digits,
      maximumFractionDigits: digits,
    });
  }

  function ms(value) {
    if (!Number.isFinite(value)) return NONE;
    if (value === 0) return "0 ms";
    if (Math.abs(value) < 1) return short(value * 1000) + " µs";
    return Math.abs(value) < 10000 ? short(value) + " ms" : short(value / 1000) + " s";
  }

  function percent(share) {
    if (!Number.isFinite(share)) return NONE;
    const value = share * 100;
    const digits = Math.abs(value) >= 10 || value === 0 || Math.abs(value) >= 1 && Number.isInteger(value) ? 0 : Math.abs(value) >= 0.1 ? 1 : 2;
    return value.toFixed(digits) + " %";
  }

  function scaled(value, base, units, unit) {
    if (!Number.isFinite(value)) return NONE;
    let step = 0;
    while (Math.abs(value) >= base && step < units.length - 1) {
      value /= base;
      ++step;
    }
    return (short(value) + " " + units[step] + unit).trim();
  }
  const si = (value, unit) => scaled(value, 1000, ["", "k", "M", "G", "T", "P"], unit);
  const bytes = (value) => scaled(value, 1024, ["", "Ki", "Mi", "Gi", "Ti"], "B");

  function seconds(value) {
    if (!Number.isFinite(value)) return NONE;
    if (value < 90) return short(Math.round(value)) + " s";
    return value < 5400 ? Math.round(value / 60) + " min" : short(value / 3600) + " h";
  }

  const clock = (unixMillis) => new Date(num(unixMillis)).toLocaleTimeString("en-GB");
  const count = (value, one, many) => short(value) + " " + (value === 1 ? one : many);

  function make(space, tag, attributes, children) {
    const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(2)) {
      if (child === undefined || child === null || child === false) continue;
      element.append(child);  // a string becomes a text node
    }
    return element;
  }
  const el = (tag, attributes, ...children) => make(null, tag, attributes, children);
  const svg = (tag, attributes, ...children) =>
    make("http://www.w3.org/2000/svg", tag, attributes, children);
  /** A name from the server, kept from turning the direction of the text around it. */
  const name = (text) => el("bdi", {}, String(text));

  // How each cause is called and which kind it is: kinds share a colour, the words tell them apart.
  const CAUSES = {
    HEALTHY: ["Healthy", "good", "✓", "Nothing holds the requests up."],
    UNKNOWN: ["Not known", "none", "?", "Too little was seen, or the signs contradict each other."],
    OVERLOAD: ["Overload", "load", "▲", "More arrives than can be computed."],
    BATCH_FORMATION_WAIT: ["Batch formation wait", "load", "◷", "Batches wait for company while an instance is free."],
    COMPUTE_BOUND: ["Compute bound", "work", "◆", "Arithmetic runs at the machine's limit."],
    MEMORY_BOUND: ["Memory bound", "work", "▤", "Reading memory runs at the machine's limit."],
    CPU_THROTTLED: ["CPU throttled", "host", "◐", "The control group's CPU quota holds the process back."],
    NOISY_NEIGHBOUR: ["Noisy neighbour", "host", "⚑", "Other work takes the same CPUs."],
    SERIALIZATION: ["Serialization", "client", "⇄", "Decoding requests and encoding answers takes the time."],
    SLOW_CLIENT: ["Slow client", "client", "⇠", "The network or the client takes the answers slowly."],
    COLD_START: ["Cold start", "host", "❄", "The model was just loaded."],
    LOCK_CONTENTION: ["Lock contention", "host", "⊘", "Threads wait for each other."],
    IMBALANCE: ["Imbalance", "load", "⚖", "Some instances are much slower or busier than others."],
    PADDING_WASTE: ["Padding waste", "load", "▨", "Rows are computed that nobody asked for."],
    DEVICE_QUEUE: ["Device queue", "load", "≡", "Work waits in the accelerator's queue."],
    MEMORY_PRESSURE: ["Memory pressure", "host", "▣", "Paging, or a memory limit."],
  };
  function cause(key) {
    const found = CAUSES[key] || CAUSES.UNKNOWN;
    return { key, label: found[0], kind: found[1], symbol: found[2], about: found[3] };
  }
  function chip(key) {
    const shown = cause(key);
    return el("span", { class: "chip kind-" + shown.kind, title: shown.about },
      el("span", { "aria-hidden": "true" }, shown.symbol + " "), shown.label);
  }

  /** "saturation_ahead" as "Saturation ahead". */
  function words(text) {
    const plain = String(text || "").replaceAll("_", " ");
    return plain.charAt(0).toUpperCase() + plain.slice(1);
  }

  /**
   * A table; `columns` are {title, about, right, cell(row), header, wide}. Narrow screens show rows as
   * cards, in which a wide cell has a line of its own.
   */
  function table(caption, columns, rows, options = {}) {
    const head = columns.map((column) =>
      el("th", { scope: "col", title: column.about, class: column.right && "right" }, column.title));
    const body = rows.map((row) => el("tr", options.row ? options.row(row) : {},
      columns.map((column) => {
        const content = column.cell(row);
        const attributes = { class: column.right ? "right" : column.wide ? "wide" : null, "data-label": column.title };
        return column.header ? el("th", { ...attributes, scope: "row" }, content)
          : el("td", attributes, content);
      })));
    return el("div", { class: "scroll" + (options.scroll ? " " + options.scroll : "") }, el("table", { class: options.class || "cards" },
      el("caption", { class: options.caption ? "" : "unseen" }, caption),
      el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
  }

  /** Pairs of a term and its value. */
  function facts(pairs) {
    return el("dl", { class: "facts" }, pairs.filter(Boolean).map(([term, value, about]) =>
      el("div", { title: about }, el("dt", {}, term), el("dd", {}, value))));
  }

  Object.assign(Bitmill, {
    NONE, num, known, short, ms, percent, si, bytes, seconds, clock, count, el, svg, name, cause,
    chip, words, table, facts,
  });
})();
