"""Servers that a measurement starts, on loopback, and the priority it runs at."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator


def program_of(build: Path) -> Path:
    """Return the program that was built there."""
    program = (build / "bitmill").resolve()
    if not program.is_file():
        raise RuntimeError(f"there is no {program}: build the target bitmill first")
    return program


def set_apart() -> list[str]:
    """Leave one half of the CPUs to a server; return what its command begins with to have it."""
    cpus = sorted(os.sched_getaffinity(0))
    half = len(cpus) // 2
    if half == 0:
        raise RuntimeError("--apart takes at least two CPUs")
    os.sched_setaffinity(0, cpus[half:])
    return ["taskset", "--cpu-list", ",".join(map(str, cpus[:half]))]


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_priority() -> str:
    """Put this process and its children ahead of others where that is allowed; say how."""
    if os.geteuid() != 0:
        return "normal priority"
    with contextlib.suppress(OSError):
        os.setsid()  # a scheduling group of its own, where the kernel makes one a session
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    return f"nice {os.getpriority(os.PRIO_PROCESS, 0)}"


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a server for the length of the block; its output goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(log: Path, text: str, process: subprocess.Popen) -> str:
    """Wait until `text` stands in the log; return the log."""
    for _ in range(600):
        content = log.read_text()
        if text in content:
            return content
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} did not start:\n{log.read_text()}")


def serve_command(program: Path, repository: Path, port: int) -> list[str]:
    """Return the command that serves a repository on a port of loopback."""
    return [str(program), "serve", "--model-repository", str(repository), "--host", "127.0.0.1",
            "--grpc-port", str(port), "--metrics-port", "0"]


def wait_ready(program: Path, address: str, model: str, log: Path) -> None:
    """Wait until the server answers for a model; at most 60 s."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        probe = subprocess.run(
            [str(program), "load", address, "--model", model, "--concurrency", "1", "--duration",
             "0.05", "--warmup", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if probe.returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server is not ready after 60 s:\n{log.read_text()}")
