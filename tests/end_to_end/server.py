"""Starts `bitmill serve` on free loopback ports and stops it again."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("BITMILL_PROGRAM", str(ROOT / "build/release/bitmill"))
SHARED_MODELS = ROOT.parent / "shared" / "models"
SHIPPED = ROOT / "models" / "repository"
GOLDEN = ROOT / "models" / "golden"
DATA = ROOT / "models" / "data"


@dataclass
class Server:
    """A running server: `address` is host:port of gRPC, `metrics` the URL of the exporter."""

    repository: Path
    arguments: list[str] = field(default_factory=list)
    start_seconds: float = 60.0
    grpc_port: int = 0  # 0: any
    metrics_port: int = 0
    command: list[str] = field(default_factory=lambda: [PROGRAM, "serve"])

    def __enter__(self) -> "Server":
        self.folder = tempfile.TemporaryDirectory(prefix="bitmill-test-")
        ready = Path(self.folder.name) / "ready.json"
        self.log_path = Path(self.folder.name) / "log.txt"
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [*self.command, "--model-repository", str(self.repository), "--host", "127.0.0.1",
             "--grpc-port", str(self.grpc_port), "--metrics-port", str(self.metrics_port), "--ready-file", str(ready), *self.arguments],
            stderr=self.log, stdout=self.log)
        end = time.monotonic() + self.start_seconds
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(f"the server did not become ready:\n{self.text()}")
            time.sleep(0.02)
        facts = json.loads(ready.read_text())
        self.address = f"127.0.0.1:{facts['grpc_port']}"
        self.metrics = f"http://127.0.0.1:{facts['metrics_port']}/metrics"
        return self

    def text(self) -> str:
        return self.log_path.read_text()

    def metrics_text(self) -> str:
        """What Prometheus would read now."""
        return urllib.request.urlopen(self.metrics, timeout=5).read().decode()

    def samples(self, name: str, **labels: str) -> list[float]:
        """The values of a metric that have these labels, as they come."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in self.metrics_text().splitlines() if line.split("{")[0].split(" ")[0] == name]
        return [float(line.split()[-1]) for line in lines if all(part in line for part in wanted)]

    def report(self) -> dict:
        """What the page shows now (/api/report)."""
        return json.loads(urllib.request.urlopen(self.metrics.removesuffix("metrics") + "api/report", timeout=5).read())

    def stop(self, sig: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Sends the signal and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout=seconds)

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        print(f"--- the server's log, exit code {self.process.returncode}:\n{self.text()[-20000:]}")  # shown when a test fails
        self.folder.cleanup()


def add_model(repository: Path, name: str, source: Path, version: int = 1) -> Path:
    """Copies a model file into repository/name/version/; returns the file."""
    target = repository / name / str(version) / ("model" + source.suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return target
