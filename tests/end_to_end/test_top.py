"""`bitmill top` and `bitmill report` against a server that answers with a fixture; top on a terminal of its own."""
from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from concurrent import futures

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from server import PROGRAM, ROOT

SAVED = json.loads((ROOT / "tests/end_to_end/fixtures/analysis_report.json").read_text())
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a gRPC server with proto/analysis.proto's service, which sends the fixture five times a second."""
    described = tmp_path_factory.mktemp("proto") / "analysis.bin"
    subprocess.run(["protoc", f"-I{ROOT}", f"--descriptor_set_out={described}", "proto/analysis.proto"], check=True, timeout=30)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(described.read_bytes()).file:
        pool.Add(file)

    def message(name: str):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bitmill.analysis.v1.{name}"))

    report = json_format.ParseDict(SAVED["report"], message("Report")())

    def watch(request, context):
        while context.is_active():
            yield report
            time.sleep(0.2)

    def timeline(request, context):
        found = [t for t in SAVED["timelines"] if t["model"] == request.model]
        return json_format.ParseDict(found[0], message("Timeline")())

    def handler(kind, function, request: str):
        return kind(function, request_deserializer=message(request).FromString, response_serializer=lambda m: m.SerializeToString())

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bitmill.analysis.v1.AnalysisService", {
        "GetReport": handler(grpc.unary_unary_rpc_method_handler, lambda request, context: report, "GetReportRequest"),
        "GetTimeline": handler(grpc.unary_unary_rpc_method_handler, timeline, "GetTimelineRequest"),
        "WatchReport": handler(grpc.unary_stream_rpc_method_handler, watch, "WatchReportRequest")})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


class Screen:
    """`bitmill top` on a terminal of the given size."""

    def __init__(self, columns: int, rows: int, *arguments: str) -> None:
        self.terminal, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen([PROGRAM, "top", "--interval", "0.2", *arguments], stdin=other, stdout=other, stderr=other,
                                        env={**os.environ, "TERM": "xterm"})
        os.close(other)
        self.seen = b""

    def frames(self) -> list[bytes]:
        return self.seen.split(b"\x1b[H")

    def wait(self, condition, seconds: float = 20) -> None:
        """Reads until the condition holds of a newly drawn frame's lines."""
        end = time.monotonic() + seconds
        start = len(self.frames())
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536)
                except OSError:
                    break
            whole = self.frames()[start:-1]  # the last may still be written
            if any(condition([line.removeprefix(b"\x1b[K") for line in frame.split(b"\r\n")]) for frame in whole):
                return
        raise AssertionError(f"it was never shown; the last frame: {self.frames()[-1][-3000:]!r}")

    def press(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def end(self, seconds: float = 10) -> int:
        """Waits for the program's end; its exit code."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if select.select([self.terminal], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536)
                except OSError:
                    pass
            if self.process.poll() is not None:
                os.close(self.terminal)
                return self.process.returncode
        self.process.kill()
        self.process.wait()
        raise AssertionError("it did not end")


def text(line: bytes) -> str:
    return re.sub(rb"\x1b\[[0-9;]*m", b"", line).decode().rstrip("\r")


def models_of(lines: list[bytes]) -> list[str]:
    names = [m["name"] for m in SAVED["report"]["models"][:4]]
    return [name for line in lines for name in names if text(line).startswith(name + " ")]


def test_shows_sorts_fits_a_new_size_and_leaves_the_terminal_as_it_was(address):
    screen = Screen(120, 30, address)
    screen.wait(lambda lines: models_of(lines)[:1] == ["fmnist_wide_w1a1"])
    assert ENTER in screen.seen
    screen.press(b"n")
    screen.wait(lambda lines: models_of(lines) == sorted(models_of(lines)) and len(models_of(lines)) == 4)
    screen.press(b"h")
    screen.wait(lambda lines: models_of(lines)[:2] == ["fmnist_wide_w1a1", "imagenet_resnet18_w1a1"])
    fcntl.ioctl(screen.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 9, 50, 0, 0))
    screen.wait(lambda lines: len(lines) <= 10 and any("models 1 to" in text(line) for line in lines) and all(len(text(line)) <= 50 for line in lines))
    screen.press(b"\x1b[F")  # End
    screen.wait(lambda lines: any(re.search(r"models \d+ to 5 of 5", text(line)) for line in lines))
    screen.press(b"\x1b[A")
    screen.wait(lambda lines: any(re.search(r"models \d+ to 4 of 5", text(line)) for line in lines))
    screen.press(b"q")
    assert screen.end() == 0
    assert screen.seen.rstrip().endswith(LEAVE)


@pytest.mark.parametrize("how", ["key", "signal"])
def test_ends_on_control_c_and_on_sigterm(address, how):
    screen = Screen(100, 30, address)
    screen.wait(lambda lines: bool(models_of(lines)))
    if how == "key":
        screen.press(b"\x03")
    else:
        screen.process.send_signal(signal.SIGTERM)
    assert screen.end() == 0
    assert screen.seen.rstrip().endswith(LEAVE)


def test_says_that_a_server_is_missing(address):
    screen = Screen(140, 30, "--targets", f"{address},127.0.0.1:1")
    screen.wait(lambda lines: bool(models_of(lines)) and any("127.0.0.1:1 cannot be reached" in text(line) for line in lines))
    screen.press(b"q")
    assert screen.end() == 0


def test_once_is_plain_text(address):
    done = subprocess.run([PROGRAM, "top", "--once", "--sort", "p99", address], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert re.search(r"^fmnist_wide_w1a1 +3 +8,120 +440 .*overload .*-24 % +now$", done.stdout, re.M)


def test_without_a_terminal_it_says_what_to_do(address):
    done = subprocess.run([PROGRAM, "top", address], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "use --once" in done.stderr


def test_report_asks_a_server_and_reads_what_it_saved(address, tmp_path):
    saved, page, again = (tmp_path / name for name in ("saved.json", "page.html", "again.html"))
    done = subprocess.run([PROGRAM, "report", address, "-o", page, "--json", saved], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert [t["model"] for t in json.loads(saved.read_text())["timelines"]] == [m["name"] for m in SAVED["report"]["models"]]
    subprocess.run([PROGRAM, "report", "--from", saved, "-o", again], check=True, timeout=30, capture_output=True)
    embedded = [json.loads(re.search(r'id="saved-report">(.*?)</script>', file.read_text(), re.S)[1]) for file in (page, again)]
    assert embedded[0] == embedded[1]


def test_report_reads_a_pipe(tmp_path):
    page = tmp_path / "page.html"
    text = json.dumps(SAVED["report"])
    done = subprocess.run([PROGRAM, "report", "--from", "-", "-o", page], input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "fmnist_wide_w1a1" in page.read_text()
    done = subprocess.run([PROGRAM, "report", "--from", "-", "-o", "-"], input=text[:100], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "standard input: it is no JSON" in done.stderr and done.stdout == ""


def test_report_writes_to_a_device_without_replacing_it():
    done = subprocess.run([PROGRAM, "report", "--from", ROOT / "tests/end_to_end/fixtures/analysis_report.json", "-o", "/dev/null"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "/dev/null: report" in done.stderr
    assert not os.path.isfile("/dev/null")
