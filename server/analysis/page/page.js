// The page's life: asks for a report every second and for the chosen model's timeline every two, or
// shows a report that is saved in the page. The chosen model is kept in the address.
"use strict";
(() => {
  const { el, clock, seconds, num } = Bitmill;
  const HISTORY_SECONDS = 300;
  const byId = (id) => document.getElementById(id);
  const state = { report: null, timelines: new Map(), chosen: "", paused: false, failure: "", received: 0, rounds: 0, busy: false };

  const chosenOfAddress = () => new URLSearchParams(location.hash.slice(1)).get("model") || "";

  /** The model of the address, else the one whose bottleneck costs most, else the first. */
  function chosenModel(report) {
    const models = report.models || [];
    if (models.some((m) => Bitmill.keyOf(m) === state.chosen)) return state.chosen;
    const cost = (m) => Math.max(0, ...(((m.diagnosis || {}).findings || []).map((f) => num(f.recoverable_p99_ms))));
    return models.length ? Bitmill.keyOf(models.reduce((worst, m) => cost(m) > cost(worst) ? m : worst)) : "";
  }

  function choose(key) {
    state.chosen = key;
    history.replaceState(null, "", "#" + new URLSearchParams({ model: key }));
    draw();
    refreshTimeline();
  }

  function drawStatus() {
    const age = (Date.now() - state.received) / 1000;
    const place = byId("status");
    const [text, tone] = state.saved ? ["Saved " + new Date(num(state.report.unix_millis)).toLocaleString("en-GB"), ""]
      : state.failure ? [state.failure + (state.report ? "; last report " + seconds(age) + " ago" : ""), "bad"]
      : !state.report ? ["Waiting for the first report", ""]
      : state.paused ? ["Paused at " + clock(state.report.unix_millis), ""] : ["Live", "good"];
    if (place.textContent !== text) place.textContent = text;
    place.className = "state " + tone;
    const held = ((state.report || {}).warnings || []).length;
    document.title = (state.failure ? "⚠ " : held && !state.saved ? "(" + held + ") " : "") + "Bitmill" + (state.saved ? " report" : " " + location.host);
  }

  function draw() {
    drawStatus();
    const report = state.report;
    if (!report) return;
    const chosen = chosenModel(report);
    Bitmill.machine(byId("machine"), report);
    Bitmill.warnings(byId("warnings"), report);
    Bitmill.models(byId("models"), report, chosen, choose);
    Bitmill.model(byId("model"), report, chosen, state.timelines.get(chosen));
    Bitmill.host(byId("host"), report);
    Bitmill.changes(byId("changes"), report);
  }

  async function ask(address) {
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error("the server answers " + response.status);
    return response.json();
  }

  async function refreshTimeline() {
    const key = state.report && chosenModel(state.report);
    if (!key || state.saved) return;
    const cut = key.lastIndexOf("/");
    const query = new URLSearchParams({ model: key.slice(0, cut), version: key.slice(cut + 1), seconds: HISTORY_SECONDS });
    try {
      state.timelines.set(key, await ask("api/timeline?" + query));
      draw();
    } catch (error) {
      console.debug("no timeline: " + error.message);  // the report's own failure is shown
    }
  }

  async function refresh() {
    if (state.paused || state.busy || document.hidden) return drawStatus();
    state.busy = true;
    try {
      state.report = await ask("api/report");
      state.received = Date.now();
      state.failure = "";
      draw();
      if (state.rounds++ % 2 === 0) await refreshTimeline();
    } catch (error) {
      state.failure = error instanceof TypeError || error.name === "TimeoutError" ? "The server cannot be reached" : "No report: " + error.message;
      drawStatus();
    } finally {
      state.busy = false;
    }
  }

  function showSaved(text) {
    const saved = JSON.parse(text);
    state.saved = true;
    state.report = saved.report;
    for (const timeline of saved.timelines || []) state.timelines.set(timeline.model + "/" + timeline.version, timeline);
    byId("foot").replaceChildren("Made by ", el("code", {}, "bitmill report"), ". It holds everything that it shows and asks nobody for more.");
    draw();
  }

  state.chosen = chosenOfAddress();
  addEventListener("hashchange", () => {
    state.chosen = chosenOfAddress();
    draw();
    refreshTimeline();
  });
  let drawn = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === drawn) return;
    drawn = document.documentElement.clientWidth;
    draw();
  });
  const saved = byId("saved-report");
  if (saved) {
    showSaved(saved.textContent);
  } else {
    const pause = byId("pause");
    pause.hidden = false;
    pause.addEventListener("click", () => {
      state.paused = !state.paused;
      pause.setAttribute("aria-pressed", String(state.paused));
      pause.textContent = state.paused ? "Go on" : "Pause";
      drawStatus();
      if (!state.paused) refresh();
    });
    document.addEventListener("visibilitychange", refresh);
    refresh();
    setInterval(refresh, 1000);
  }
})();
