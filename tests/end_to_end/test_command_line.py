"""The program from outside: errors of one line, exit statuses, signals, probe."""
import json
import signal
import socket
import subprocess
import time

import pytest

from server import PROGRAM, SHIPPED, Server, add_model

DIGITS = SHIPPED / "digits_w1a1" / "1" / "model.onnx"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)


def test_version():
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("bitmill ")


@pytest.mark.parametrize("command", ["", "serve", "infer", "load", "inspect", "bench", "compare", "top", "report", "probe"])
def test_help_goes_to_standard_output(command):
    done = run(*([command] if command else []), "--help")
    assert done.returncode == 0 and "Usage" in done.stdout and not done.stderr


@pytest.mark.parametrize("arguments, word", [
    ([], "subcommand"),
    (["serve"], "--model-repository"),
    (["serve", "--model-repository", str(SHIPPED), "--grpc-port", "70000"], "70000"),
    (["serve", "--model-repository", str(SHIPPED), "--isa", "sse9"], "sse9"),
    (["serve", "--model-repository", str(SHIPPED), "--load-model", "m"], "explicit"),
    (["serve", "--model-repository", str(SHIPPED), "--no-such-option"], "no-such-option"),
    (["probe", "--timeout", "soon"], "soon"),
    (["top", "--sort", "beauty"], "beauty"),
    (["top", "--interval", "0"], "--interval"),
    (["report", "--seconds", "0"], "--seconds"),
    (["top", "localhost"], "the port is missing"),
    (["top", "-t", "127.0.0.1:8001,b"], "'b'"),
    (["report", "http://127.0.0.1:8002"], "without http://"),
    (["probe", "127.0.0.1:70000"], "127.0.0.1:70000"),
    (["infer", "m", "-s", "here", "-i", "x"], "HOST:PORT"),
    (["load", "127.0.0.1:1"], "--model"),
    (["compare"], "files"),
    (["bench", "--suite", "everything"], "everything"),
])
def test_misuse_is_one_line_with_status_2(arguments, word):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("bitmill: ") and done.stderr.count("\n") == 1
    assert word in done.stderr


def test_a_missing_repository_is_one_line_with_status_1():
    done = run("serve", "--model-repository", "/nonexistent", "--log-level", "off")
    assert done.returncode == 1
    assert done.stderr.startswith("bitmill: ") and done.stderr.count("\n") == 1
    assert "/nonexistent" in done.stderr and "--model-repository" in done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["report", "127.0.0.1:1"], "127.0.0.1:1 cannot be reached"),
    (["top", "--once", "127.0.0.1:1"], "127.0.0.1:1 cannot be reached"),
    (["load", "127.0.0.1:1", "-m", "m"], "127.0.0.1:1"),
    (["infer", "m", "-s", "127.0.0.1:1", "-i", str(DIGITS)], "127.0.0.1:1"),
    (["report", "--from", "/nowhere/saved.json"], "/nowhere/saved.json"),
    (["report", "--from", str(DIGITS)], "model.onnx: it is no JSON"),
    (["compare", "/nowhere/a.json"], "/nowhere/a.json"),
    (["inspect", "/nowhere/model.onnx"], "/nowhere/model.onnx"),
    (["report", "127.0.0.1:1", "-o", "/nowhere/page.html"], "there is no folder /nowhere"),
    (["bench", "--report", "/nowhere/a.json"], "there is no folder /nowhere"),
    (["load", "127.0.0.1:1", "-m", "m", "--json", "/nowhere/a.json"], "there is no folder /nowhere"),
])
def test_what_is_wrong_is_one_line_with_status_1(arguments, words):
    started = time.monotonic()
    done = run(*arguments)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("bitmill: ")
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("option", ["--grpc-port", "--metrics-port"])
def test_a_port_in_use_is_named(option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"--grpc-port": "0", "--metrics-port": "0", option: str(port)}
        done = run("serve", "--model-repository", str(SHIPPED), "--host", "127.0.0.1", "--log-level", "off",
                   *(word for pair in ports.items() for word in pair))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and done.stderr.count("\n") == 1


def test_probe(shipped):
    for service in ("readiness", "liveness", "digits_w1a1", ""):
        done = run("probe", "--address", shipped.address, "--service", service)
        assert done.returncode == 0 and "SERVING" in done.stdout
    assert run("probe", shipped.address).returncode == 0
    done = run("probe", "--address", shipped.address, "--service", "nobody")
    assert done.returncode == 1 and "nobody" in done.stderr
    assert run("probe", "--address", shipped.address, "--quiet").stdout == ""


def test_probe_of_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        started = time.monotonic()
        done = run("probe", "--address", address, "--timeout", "500ms")
    assert done.returncode == 1 and address in done.stderr and done.stderr.count("\n") == 1
    assert time.monotonic() - started < 5


def test_probe_sees_the_drain(tmp_path):
    add_model(tmp_path, "m", DIGITS)
    with Server(tmp_path, ["--drain-seconds", "2"]) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        done = run("probe", "--address", server.address)
        assert done.returncode == 1 and "NOT_SERVING" in done.stderr
        assert run("probe", "--address", server.address, "--service", "liveness").returncode == 0
        assert server.process.wait(timeout=20) == 0
        assert "stopped" in server.text()


def test_a_second_signal_ends_it_at_once(tmp_path):
    add_model(tmp_path, "m", DIGITS)
    with Server(tmp_path, ["--drain-seconds", "20"]) as server:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        started = time.monotonic()
        assert server.stop(signal.SIGINT) == 128 + signal.SIGINT
        assert time.monotonic() - started < 2


def test_log_lines_are_json_when_asked(tmp_path):
    add_model(tmp_path, "m", DIGITS)
    with Server(tmp_path, ["--log-format", "json"]) as server:
        lines = [json.loads(line) for line in server.text().splitlines()]
    loaded = [line["message"] for line in lines if line["message"].startswith("model loaded")]
    assert len(loaded) == 1
    for word in ("name=m", "version=1", "weight_bytes=", "arena_bytes=", "isa=", "ms="):
        assert word in loaded[0]


def test_requests_write_nothing_to_the_log(shipped):
    before = shipped.text()
    for _ in range(3):
        run("probe", "--address", shipped.address)
    assert shipped.text() == before
