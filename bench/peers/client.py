"""The side of compare.py that talks to worker.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")


class PeerError(RuntimeError):
    """A worker ended or answered nonsense."""


class Peer:
    """A peer library in a process of its own; a context manager."""

    def __init__(self, name: str, python: str):
        self.name = name
        self._process = subprocess.Popen(
            [python, str(WORKER), name], text=True, bufsize=1, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            hello = self._read()
        except PeerError:
            hello = {"missing": f"the worker does not start with {python}"}
        self.missing: str | None = hello.get("missing")
        self.version: str = hello.get("version", "")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def prepare(self, model: Path, rows: int, threads: int,
                forms: list[str]) -> dict[str, str | None]:
        """Load the model in these forms; returns for each form None or why it is refused."""
        return self._ask(do="prepare", model=str(model), rows=rows, threads=threads,
                         forms=forms)["forms"]

    def correlation(self, form: str, inputs: Path, outputs: Path) -> float:
        """Return how a form's outputs correlate with these."""
        return self._ask(do="agree", form=form, inputs=str(inputs),
                         outputs=str(outputs))["correlation"]

    def milliseconds(self, form: str, seconds: float) -> float:
        """Return what a batch takes, measured for so long."""
        return self._ask(do="time", form=form, seconds=seconds)["ms"]

    def _ask(self, **order: object) -> dict:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
        except BrokenPipeError as error:
            raise PeerError(f"{self.name}: the worker ended") from error
        return self._read()

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name}: the worker ended with {self._process.wait()}")
        return json.loads(line)


def start_peers(names: list[str], pythons: dict[str, str]) -> list[Peer]:
    """Start the workers; says in a line which packages are missing, and leaves those out."""
    peers = []
    for name in names:
        peer = Peer(name, pythons.get(name, sys.executable))
        if peer.missing is None:
            peers.append(peer)
            continue
        print(f"skipped {name}: {peer.missing}", file=sys.stderr)
        peer.__exit__()
    return peers
