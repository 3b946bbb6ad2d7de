"""The web page and `bitmill report` of a real server under load, in a real browser: what is shown is what the server says.
BITMILL_SCREENSHOTS=FOLDER keeps pictures to look at."""
from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from browser import CHROMIUM, DRIVER, PICTURES, Browser
from server import PROGRAM, SHIPPED, Server, add_model

if not (CHROMIUM and DRIVER):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

LONG = "a_model_whose_name_is_much_longer_than_what_most_people_would_choose_for_one"
TIGHT, IDLE = "tight", "idle"
RATES = {LONG: 150, TIGHT: 50}
UNITS = {"": 1, "%": 0.01, "µs": 1e-3, "ms": 1, "s": 1e3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Two models with traffic, one of which cannot keep its objective, and one without."""
    repository = tmp_path_factory.mktemp("models")
    add_model(repository, LONG, SHIPPED / "fmnist_tfc_w1a1/1/model.onnx")
    for name in (TIGHT, IDLE):
        add_model(repository, name, SHIPPED / "digits_w1a1/1/model.onnx")
    (repository / TIGHT / "config.pbtxt").write_text("slo { p99_ms: 0.02 }\n")
    with Server(repository, ["--measure-machine"]) as server:
        server.page = server.metrics.removesuffix("metrics")
        mix = [word for name, rate in RATES.items() for word in ("-m", f"{name}:{rate}")]
        load = subprocess.Popen([PROGRAM, "load", server.address, *mix, "--rate", str(sum(RATES.values())), "--duration", "600", "--allow-errors"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server.loaded_since = time.monotonic()
        yield server
        load.terminate()
        load.wait(timeout=20)


def number(text: str) -> float | None:
    """"24.6 ms" as 24.6, "440 µs" as 0.44, "8,120" as 8120, "75 %" as 0.75; None for what is not known."""
    if text.strip() in ("", "–"):
        return None
    found = re.match(r"\s*(-?[\d,.]+)\s*(\S*)", text)
    return float(found[1].replace(",", "")) * UNITS[found[2]]


def rows_of(browser: Browser) -> dict[str, dict[str, str]]:
    """The table of models: by key the text of each cell by its column."""
    return browser.run("""
        return Object.fromEntries([...document.querySelectorAll('#models tbody tr')].map(row => [row.querySelector('.choose').dataset.model,
          Object.fromEntries([...row.children].map(cell => [cell.dataset.label, cell.textContent]))]))""")


def check_models(browser: Browser, report: dict) -> None:
    """Each model's row says what the report says, to the digits that are shown."""
    rows = rows_of(browser)
    assert set(rows) == {f"{m['name']}/{m['version']}" for m in report["models"]}
    causes = browser.run("return Object.fromEntries(arguments[0].map(key => [key, Bitmill.cause(key).label]))",
                         [m["diagnosis"]["cause"] for m in report["models"] if m["diagnosis"]])
    for model in report["models"]:
        row = rows[f"{model['name']}/{model['version']}"]
        assert model["name"] in row["Model"]
        lost = model["refused_per_s"] + model["expired_per_s"] + model["failed_per_s"]
        for label, expected in (("Answered/s", model["answered_per_s"]), ("Lost/s", lost), ("p50", model["latency"]["p50_ms"]),
                                ("p99", model["latency"]["p99_ms"]), ("Batch", model["mean_batch_rows"]), ("Queue", float(model["queue_depth"]))):
            assert number(row[label]) == pytest.approx(expected, rel=0.006, abs=1e-5), (model["name"], label)
        assert row["Bottleneck"].endswith(causes[model["diagnosis"]["cause"]] if model["offered_per_s"] > 0 else "idle")
        known = model["forecast"] and model["forecast"]["capacity_rows_per_s"] > 0
        assert number(row["Headroom"]) == (pytest.approx(model["forecast"]["headroom"], abs=0.006) if known else None), model["name"]


def check_chosen(browser: Browser, report: dict, model: dict, timeline: dict) -> None:
    """The charts of the chosen model are those of its report."""
    texts = browser.run("return [...document.querySelectorAll('#stages text')].map(t => t.textContent)")
    shown = [stage["stage"] for stage in model["stages"] if stage["stage"] != "formation"]
    assert [text for text in texts if text in shown] == shown and "decode" in shown and "compute" in shown
    means = [number(text) for text in texts if "p99" in text]
    expected = [stage["mean_ms"] for stage in model["stages"] if stage["p99_ms"] > 0 and stage["stage"] != "formation"]
    assert means == pytest.approx(expected, rel=0.006, abs=1e-6)
    in_the_server = [stage["mean_ms"] for stage in model["stages"] if stage["stage"] not in ("formation", "write")]
    assert sum(in_the_server) == pytest.approx(model["latency"]["mean_ms"], rel=0.05)

    drawn = "return document.querySelectorAll(`#${arguments[0]} .draw svg :is(rect, path)`).length"
    layers = [o for o in model["operations"] if o["row_macs"] > 0 and o["mean_us"] > 0]
    assert len(layers) >= 3 and browser.run(drawn, "roofline") == len(layers)
    assert browser.run("return document.querySelectorAll('#roofline tbody tr').length") == len(model["operations"])
    assert browser.run("return document.querySelectorAll('#roofline line.roof').length") >= 4, "the machine was measured"
    causes = {point["cause"] for point in timeline["points"]}
    assert browser.run("return document.querySelectorAll('#lanes text.label').length") == len(causes)
    for chart in ("latency", "rates", "queue", "batches", "forecast"):
        assert browser.run("return Math.max(...[...document.querySelectorAll(`#${arguments[0]} path.line`)].map(p => p.getAttribute('d').length))", chart) > 20, chart
        legend = browser.run("return document.querySelector(`#${arguments[0]} .legend`).textContent", chart)
        assert re.search(r"\d", legend), f"{chart}: {legend}"
    assert browser.run("return (document.querySelector('#forecast path.area.tone-c').getAttribute('d') || '').length") > 10, "the band"
    facts = browser.run("return Object.fromEntries([...document.querySelectorAll('.facts div')].map(d => [d.firstChild.textContent, d.lastChild.textContent]))")
    assert number(facts["Instances"]) == model["controls"]["instances"]
    assert facts["CPU of this process"].startswith(browser.run("return Bitmill.short(arguments[0])", report["host"]["process_cpu_cores"]))


def chosen_address(base: str, name: str) -> str:
    return base + "#" + urllib.parse.urlencode({"model": f"{name}/1"})


def test_the_live_page_shows_what_the_server_says(live, browser):
    browser.open(chosen_address(live.page, LONG))
    # Remembers what the page was told.
    browser.run("""
        const ask = window.fetch;
        window.told = {};
        window.fetch = async (address, options) => {
          const answer = await ask(address, options);
          window.told[address.split('?')[0]] = await answer.clone().json();
          return answer;
        };""")
    browser.wait("document.getElementById('status').textContent === 'Live'")
    time.sleep(max(0, live.loaded_since + 8 - time.monotonic()))
    browser.wait("""
        (m => m && m.answered_per_s > 0 && m.forecast && m.forecast.capacity_rows_per_s > 0 && m.operations.some(o => o.mean_us > 0))
          ((((window.told['api/report'] || {}).models) || []).find(m => m.name === arguments[0]))
        && window.told['api/report'].warnings.length > 0 && (window.told['api/timeline'] || {points: []}).points.length > 5""".replace("arguments[0]", json.dumps(LONG)), 40)
    browser.run("document.getElementById('pause').click()")
    time.sleep(1)  # what was asked before the pause is still drawn
    report, timeline = browser.run("return [window.told['api/report'], window.told['api/timeline']]")
    assert browser.run("return document.getElementById('status').textContent").startswith("Paused")
    check_models(browser, report)
    by_name = {model["name"]: model for model in report["models"]}
    check_chosen(browser, report, by_name[LONG], timeline)
    for name, rate in RATES.items():
        assert by_name[name]["answered_per_s"] == pytest.approx(rate, rel=0.35), name
    assert by_name[IDLE]["answered_per_s"] == 0
    shown = browser.run("return [...document.querySelectorAll('#warnings li')].map(li => li.textContent)")
    assert len(shown) == len(report["warnings"]) and any("Objective at risk" in text and TIGHT in text for text in shown), shown
    assert f"({len(shown)}) Bitmill" in browser.run("return document.title")
    now = json.load(urllib.request.urlopen(live.page + "api/report", timeout=5))
    assert {m["name"]: m["answered_per_s"] for m in now["models"]} == pytest.approx({m["name"]: m["answered_per_s"] for m in report["models"]}, rel=0.35)
    browser.keep("live", PICTURES)
    for width in (1280, 400):
        browser.show(width, 900, "light")
        browser.wait(f"document.documentElement.scrollWidth <= {width}", 5)
    assert browser.console() == []


def test_a_model_without_traffic_says_so(live, browser):
    browser.open(chosen_address(live.page, IDLE))
    browser.wait("document.querySelector('#diagnosis') !== null")
    assert "Idle" in browser.run("return document.getElementById('diagnosis').textContent")
    assert "No request was answered" in browser.run("return document.getElementById('stages').textContent")
    assert "NaN" not in browser.run("return document.body.textContent") and "undefined" not in browser.run("return document.body.textContent")
    browser.keep("idle", PICTURES)
    assert browser.console() == []


def test_the_report_of_a_live_server_shows_what_it_holds(live, browser, tmp_path):
    time.sleep(max(0, live.loaded_since + 8 - time.monotonic()))
    page, saved = tmp_path / "report.html", tmp_path / "report.json"
    subprocess.run([PROGRAM, "report", live.address, "-o", page, "--json", saved], check=True, timeout=60, capture_output=True)
    held = json.loads(saved.read_text())
    browser.open(chosen_address(page.as_uri(), LONG))
    browser.wait("document.querySelectorAll('#lanes svg rect').length > 0")
    check_models(browser, held["report"])
    model, = (m for m in held["report"]["models"] if m["name"] == LONG)
    timeline, = (t for t in held["timelines"] if t["model"] == LONG)
    check_chosen(browser, held["report"], model, timeline)
    assert browser.run("return document.title") == "Bitmill report"
    browser.keep("report-live", PICTURES)
    assert browser.console() == []


def test_a_server_that_is_started_again_is_found_again(browser, tmp_path):
    add_model(tmp_path, "m", SHIPPED / "digits_w1a1/1/model.onnx")
    with Server(tmp_path) as first:
        port = int(urllib.parse.urlsplit(first.metrics).port)
        browser.open(first.metrics.removesuffix("metrics"))
        browser.wait("document.querySelectorAll('#models tbody tr').length === 1")
        assert first.stop() == 0
    browser.wait("document.getElementById('status').textContent.includes('cannot be reached')")
    assert browser.run("return document.querySelectorAll('#models tbody tr').length") == 1, "the last report stays"
    assert browser.run("const b = document.getElementById('status').getBoundingClientRect(); return b.bottom <= window.innerHeight && b.top >= 0"), "wherever the reader is"
    browser.keep("lost", PICTURES)
    add_model(tmp_path, "another", SHIPPED / "digits_w1a1/1/model.onnx")
    with Server(tmp_path, metrics_port=port):
        browser.wait("document.getElementById('status').textContent === 'Live'")
        browser.wait("document.querySelectorAll('#models tbody tr').length === 2")
    assert [line for line in browser.console() if "Failed to load resource" not in line] == []
