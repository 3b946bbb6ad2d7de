"""The web page of the analysis in a real browser: it draws what the report says, asks nobody but its server, and no name in
the report can do anything. BITMILL_SCREENSHOTS=FOLDER keeps pictures to look at."""
from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from browser import CHROMIUM, DRIVER, Browser
from server import PROGRAM, ROOT

if not (CHROMIUM and DRIVER):
    pytest.skip("Debian's chromium and chromium-driver are not installed", allow_module_level=True)

PAGE = ROOT / "server" / "analysis" / "page"
FIXTURE = ROOT / "tests" / "end_to_end" / "fixtures" / "analysis_report.json"
SAVED = json.loads(FIXTURE.read_text())
MODELS = SAVED["report"]["models"]
CHARTS = ["stages", "lanes", "latency", "rates", "queue", "batches", "forecast", "roofline", "requests"]
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def policy() -> str:
    """The content security policy that the metrics port sends."""
    exporter = (ROOT / "server" / "metrics" / "exporter.cc").read_text()
    header = re.search(r'"Content-Security-Policy: .*?\\r\\n"', exporter, re.S)[0]
    return "".join(re.findall(r'"([^"]*)"', header)).removesuffix("\\r\\n").partition(": ")[2]


class Handler(BaseHTTPRequestHandler):
    """Serves the page's files, and the fixture as the API."""

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query))
        if address.path == "/api/report":
            return self.answer("application/json", json.dumps(self.server.report).encode())
        if address.path == "/api/timeline":
            for timeline in SAVED["timelines"]:
                if timeline["model"] == query.get("model") and timeline["version"] == query.get("version"):
                    return self.answer("application/json", json.dumps(timeline).encode())
            return self.send_error(404)
        file = PAGE / ("index.html" if address.path == "/" else address.path[1:])
        if file.parent != PAGE or file.suffix not in TYPES or not file.exists():
            return self.send_error(404)
        return self.answer(TYPES[file.suffix], file.read_bytes())

    def answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200 if self.server.report else 503)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy())
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.report = SAVED["report"]
    server.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address_of(site, model: dict) -> str:
    return site.address + "#" + urllib.parse.urlencode({"model": f"{model['name']}/{model['version']}"})


def open_model(browser: Browser, site, name: str) -> None:
    browser.open(address_of(site, next(m for m in MODELS if m["name"] == name)))
    browser.wait("document.querySelectorAll('#lanes svg rect').length > 0")


def marks(browser: Browser, chart: str) -> int:
    """How many things are drawn in a chart, its grid and axes not counted."""
    return browser.run("return document.querySelectorAll(`#${arguments[0]} .draw svg :is(rect, path)`).length", chart)


@pytest.mark.parametrize("scheme,width", [("light", 1400), ("dark", 1400), ("light", 400), ("dark", 400)])
def test_draws_everything_without_a_complaint(site, browser, scheme, width):
    browser.show(width, 900, scheme)
    open_model(browser, site, "fmnist_wide_w1a1")
    for chart in CHARTS:
        assert marks(browser, chart) >= 1, chart
    assert browser.run("return document.querySelectorAll('#models tbody tr').length") == len(MODELS)
    assert browser.run("return document.querySelectorAll('#warnings li').length") == 2
    assert browser.run("return document.querySelectorAll('#changes tbody tr').length") == 3
    assert browser.run("return document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    browser.keep(f"page-{scheme}-{width}")
    assert browser.console() == []
    assert {urllib.parse.urlsplit(a).netloc for a in browser.requests() if a.startswith("http")} == {urllib.parse.urlsplit(site.address).netloc}


def test_shows_what_the_report_says(site, browser):
    open_model(browser, site, "fmnist_wide_w1a1")
    text = browser.run("return document.getElementById('diagnosis').textContent")
    first = MODELS[0]["diagnosis"]["findings"][0]
    assert "Overload" in text and first["evidence"] in text and first["advice"] in text
    assert "18.9 ms of p99 25.1 ms" in text, "of what clients see, which is not the server's own p99"
    assert marks(browser, "roofline") == len(MODELS[0]["operations"])
    lanes = browser.run("return [...document.querySelectorAll('#lanes text.label')].map(t => t.textContent)")
    assert len(lanes) == 4 and any("Overload" in lane for lane in lanes), "a lane for each cause of the history"
    # The queue takes most of the time, and so most of the waterfall.
    widths = browser.run("return Object.fromEntries([...document.querySelectorAll('#stages rect.stage')].map(r => [r.getAttribute('class'), Number(r.getAttribute('width'))]))")
    assert max(widths, key=widths.get) == "stage stage-queue"


def test_confusion_matrix_is_a_table_with_its_counts(site, browser):
    open_model(browser, site, "digits_w1a1")
    shown = browser.run("return [...document.querySelectorAll('.matrix tbody td')].map(c => Number(c.textContent.replaceAll(',', '')))")
    assert shown == [int(c) for c in MODELS[1]["quality"]["confusion"]]
    browser.keep("page-quality")
    assert browser.console() == []


def table_of(browser: Browser, card: str) -> list[dict[str, str]]:
    """The rows of the table in a card: the text of each cell by its column."""
    return browser.run("""
        return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(row =>
          Object.fromEntries([...row.children].map(cell => [cell.dataset.label, cell.textContent])))""", card)


@pytest.mark.parametrize("width", [1400, 400])
def test_a_routed_model_shows_where_its_batches_go(site, browser, width):
    browser.show(width, 900, "light")
    open_model(browser, site, "digits_w1a1")
    routing = MODELS[1]["routing"]
    rows = table_of(browser, "routing")
    assert [row["Rows"] for row in rows] == [size["rows"] for size in routing["sizes"]]
    for row, size in zip(rows, routing["sizes"]):
        assert row["Goes to"] == size["goes_to"] and row["Why"].lower() == size["reason"]
        for backend, micros in zip(("cpu", "opencl"), size["predicted_us"]):
            assert row[backend].endswith(" µs") and float(row[backend][:-3].replace(",", "")) == pytest.approx(micros, rel=0.006)
    assert {row["Why"] for row in rows} == {"Fastest", "Drift"}
    notes = browser.run("return document.querySelector('#routing .note').textContent")
    for text in ("83 % of batches lately", "17 % of batches lately", "Drift of opencl1.62 ×", "Break-even of opencl8 rows"):
        assert text in notes
    assert browser.run("return document.querySelectorAll('#division').length") == 0
    assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.keep(f"page-routing-{width}")
    assert browser.console() == []


def test_a_divided_model_shows_its_parts(site, browser):
    open_model(browser, site, "imagenet_resnet18_w1a1")
    parts = MODELS[2]["division"]["parts"]
    assert [(row["Part"], row["On"]) for row in table_of(browser, "division")] == [(p["name"], p["backend"]) for p in parts]
    assert [row["Hands over"] for row in table_of(browser, "division")] == ["24.5 KiB", "0 B"]
    assert browser.run("return document.querySelectorAll('#routing').length") == 0
    browser.keep("page-division")
    assert browser.console() == []


def test_a_hostile_name_is_only_text(site, browser):
    hostile = MODELS[4]
    assert "onerror" in hostile["name"]
    browser.open(address_of(site, hostile))
    browser.wait("document.querySelectorAll('#models tbody tr').length > 0")
    browser.wait("document.querySelector('#model h2') !== null")
    assert hostile["name"] in browser.run("return document.querySelector('#model h2').textContent")
    assert browser.run("return document.images.length") == 0
    row = browser.run("return [...document.querySelectorAll('#models tbody tr')].pop().textContent")
    assert "idle" in row and row.endswith("––"), "neither headroom nor saturation are known"
    browser.keep("page-hostile")
    assert browser.console() == []


def test_choosing_a_model_works_by_keyboard_and_survives_the_next_report(site, browser):
    browser.open(site.address)
    browser.wait("document.querySelectorAll('.choose').length > 0")
    browser.run("document.querySelectorAll('.choose')[2].focus()")
    browser.press("Enter", 13, "\r")
    browser.wait("document.querySelector('#model h2').textContent.includes('imagenet')")
    site.report = {**SAVED["report"], "unix_millis": str(int(SAVED["report"]["unix_millis"]) + 1000), "server_version": "9.9.9"}
    browser.wait("document.getElementById('machine').textContent.includes('9.9.9')")
    assert browser.run("return document.activeElement.dataset.model") == "imagenet_resnet18_w1a1/1"
    assert "imagenet" in urllib.parse.unquote(browser.run("return location.hash"))


def test_arrow_keys_read_a_chart(site, browser):
    open_model(browser, site, "fmnist_wide_w1a1")
    browser.run("document.querySelector('#latency .draw').focus()")
    for _ in range(3):
        browser.press("ArrowLeft", 37)
    assert browser.run("return document.querySelectorAll('#latency line.cursor').length") == 1
    assert browser.run("return document.querySelector('#latency .spoken').textContent").startswith("−2 s: Latency")
    assert browser.run("return document.querySelector('#latency .when').textContent") == "−2 s"


def test_says_when_the_server_is_gone_and_recovers(site, browser):
    browser.open(site.address)
    browser.wait("document.getElementById('status').textContent === 'Live'")
    kept, site.report = site.report, None
    browser.wait("document.getElementById('status').textContent.includes('No report')")
    assert browser.run("return document.querySelectorAll('#models tbody tr').length") == len(MODELS), "the last report stays"
    site.report = kept
    browser.wait("document.getElementById('status').textContent === 'Live'")


def test_many_models_and_warnings_scroll_in_their_lists(site, browser):
    models = [{**MODELS[i % len(MODELS)], "name": f"model_{i:02}"} for i in range(40)]
    models[35] = MODELS[0]  # one that the site has the past of
    warnings = [{**SAVED["report"]["warnings"][0], "id": str(i), "model": f"model_{i:02}"} for i in range(30)]
    finding = {"cause": "NOISY_NEIGHBOUR", "recoverable_p99_ms": 2.0, "evidence": "threads were ready, worst for " + 9 * "a_long_name_", "advice": "", "confidence": 0.8}
    host = {**SAVED["report"]["host"], "diagnosis": {"cause": "NOISY_NEIGHBOUR", "confidence": 0.8, "findings": [finding]}}
    site.report = {**SAVED["report"], "host": host, "models": models, "warnings": warnings}
    browser.open(site.address + "#" + urllib.parse.urlencode({"model": f"{models[35]['name']}/{models[35]['version']}"}))
    browser.wait("document.querySelectorAll('#models tbody tr').length === 40")
    heights = browser.run("return [...document.querySelectorAll('.list')].map(e => [e.clientHeight, e.scrollHeight, e.scrollTop])")
    assert len(heights) == 2 and all(shown < 520 < whole for shown, whole, _ in heights), heights
    assert heights[1][2] > 0, "the chosen model is in view"
    browser.run("document.querySelector('#models .list').scrollTop = 77")
    site.report = {**site.report, "server_version": "9.9.9"}
    browser.wait("document.getElementById('machine').textContent.includes('9.9.9')")
    assert browser.run("return document.querySelector('#models .list').scrollTop") == 77
    browser.keep("page-many")
    browser.show(400, 900, "light")
    browser.keep("page-many-400")
    assert browser.run("return document.documentElement.scrollWidth") <= 400
    assert browser.console() == []


def test_a_machine_that_was_not_measured_has_points_and_a_hint(site, browser):
    site.report = {**SAVED["report"], "machine": {**SAVED["report"]["machine"], "limits": {}}}
    open_model(browser, site, "fmnist_wide_w1a1")
    assert marks(browser, "roofline") == len(MODELS[0]["operations"])
    assert "--measure-machine" in browser.run("return document.getElementById('roofline').textContent")
    assert browser.console() == []


@pytest.mark.parametrize("width", [1400, 400])
def test_labels_of_close_limits_do_not_lie_on_one_another(site, browser, width):
    limits = {"bit_macs_per_s": 2.9e12, "lowbit_int8_macs_per_s": 2.7e12, "fp32_macs_per_s": 2.8e12,
              "l1_bytes_per_s": 190e9, "l2_bytes_per_s": 170e9, "l3_bytes_per_s": 23e9, "dram_bytes_per_s": 22e9}
    site.report = {**SAVED["report"], "machine": {**SAVED["report"]["machine"], "limits": limits}}
    browser.show(width, 900, "light")
    open_model(browser, site, "fmnist_wide_w1a1")
    # Where each limit's label is, in axes that lie along its line and across it.
    labels = browser.run("""
        return [...document.querySelectorAll('#roofline text')].filter(t => t.textContent.endsWith('/s')).map(t => {
          const m = t.getCTM(), b = t.getBBox(), angle = Math.atan2(m.b, m.a);
          const at = (x, y) => [m.a * x + m.c * y + m.e, m.b * x + m.d * y + m.f];
          const turned = ([x, y]) => [x * Math.cos(angle) + y * Math.sin(angle), y * Math.cos(angle) - x * Math.sin(angle)];
          return {text: t.textContent, angle, box: [...turned(at(b.x, b.y)), ...turned(at(b.x + b.width, b.y + b.height))],
                  seen: at(b.x, b.y).concat(at(b.x + b.width, b.y + b.height)).every(v => v >= 0)};
        })""")
    browser.keep(f"page-roofline-{width}")
    assert len(labels) == len(limits) and all(label["seen"] for label in labels)
    for i, label in enumerate(labels):
        for other in labels[:i]:
            (x0, y0, x1, y1), (u0, v0, u1, v1) = label["box"], other["box"]
            apart = x1 <= u0 or u1 <= x0 or y1 - 2 <= v0 or v1 - 2 <= y0  # a box has some room above and below its text
            assert apart or abs(label["angle"] - other["angle"]) > 0.1, (label["text"], other["text"])


def test_every_control_and_picture_has_a_name(site, browser):
    open_model(browser, site, "fmnist_wide_w1a1")
    unnamed = browser.run("""
        return [...document.querySelectorAll('button, a, svg[role=img], [tabindex="0"], section, table')].filter(e =>
          !(e.getAttribute('aria-label') || e.textContent).trim()).map(e => e.outerHTML.slice(0, 200))""")
    assert unnamed == []


def test_text_contrasts_with_its_ground(site, browser):
    for scheme in ("light", "dark"):
        browser.show(1400, 1000, scheme)
        open_model(browser, site, "fmnist_wide_w1a1")
        poor = browser.run("""
            const light = (c) => { const v = c.map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
            const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            const rgb = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
            const found = [];
            for (const e of document.querySelectorAll('body *')) {
              const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
              if (!own || !e.getClientRects().length || e.closest('.unseen, .skip, noscript, svg')) continue;
              let ground = e;
              while (ground && rgb(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
              const [a, b] = [light(rgb(getComputedStyle(e).color)), light(rgb(getComputedStyle(ground || document.body).backgroundColor))];
              const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
              if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.slice(0, 40)}`);
            }
            return [...new Set(found)];""")
        assert poor == [], scheme


def test_html_report_stands_alone(browser, tmp_path):
    if not Path(PROGRAM).exists() or subprocess.run([PROGRAM, "report", "--help"], capture_output=True).returncode != 0:
        pytest.skip("the program is not built")
    file = tmp_path / "report.html"
    subprocess.run([PROGRAM, "report", "--from", FIXTURE, "-o", file], check=True, timeout=60, capture_output=True)
    browser.open(file.as_uri() + "#" + urllib.parse.urlencode({"model": "fmnist_wide_w1a1/3"}))
    browser.wait("document.querySelectorAll('#lanes svg rect').length > 0")
    for chart in CHARTS:
        assert marks(browser, chart) >= 1, chart
    assert browser.run("return document.getElementById('status').textContent").startswith("Saved ")
    assert browser.run("return document.images.length") == 0
    browser.keep("report")
    assert browser.console() == []
    assert [a for a in browser.requests() if not a.startswith(("data:", "about:"))] == [file.as_uri()]
