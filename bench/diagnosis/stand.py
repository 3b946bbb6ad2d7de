"""A server, its load and what it reports, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
from servers import free_port, running, wait_ready  # noqa: E402

HERE = Path(__file__).resolve().parent
CAPACITY_SECONDS, MOST_RATE = 1.5, 3000.0  # requests a second that a base load has at most
LIGHT = 0.5  # of the capacity: loads below leave room for a request on its own


class NotPermitted(RuntimeError):
    """An injection that this machine does not allow; the text says why."""


@dataclass(frozen=True)
class Capacity:
    """Requests that a server answers a second."""

    most: float  # of many at once
    alone: float  # one after the other


@dataclass(frozen=True)
class Setting:
    """How a server is started and loaded."""

    model: str
    config: str = "max_batch_size: 32\n"
    flags: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # options of the server with known faults; empty: the delivered one
    all_cpus: bool = False  # the server may run on every CPU, not on its half alone
    load: float = 0.3  # of what it can answer
    rows: int = 1  # of a request
    other_model: str = ""  # also there, and asked as often
    memory_group: bool = False  # in a control group of its own from the start


@dataclass
class Server:
    """A server that runs."""

    process: subprocess.Popen
    port: int
    metrics_port: int
    repository: Path
    memory_group: Path | None = None

    def report(self) -> dict:
        """Return the newest report."""
        url = f"http://127.0.0.1:{self.metrics_port}/api/report"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """The reports on a model during a load, with the seconds since the begin of it."""

    model: str
    times: list[float] = field(default_factory=list)
    reports: list[dict] = field(default_factory=list)


def split_cpus() -> tuple[set[int], set[int]]:
    """Return the CPUs of servers and those of clients and proxies: halves where there are two."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return set(cpus), set(cpus)
    return set(cpus[: len(cpus) // 2]), set(cpus[len(cpus) // 2:])


def stolen_seconds() -> dict[int, float]:
    """Return what the hypervisor has taken of each CPU since the system's start."""
    stolen = {}
    for line in Path("/proc/stat").read_text().splitlines():
        if match := re.match(r"cpu(\d+) ", line):
            stolen[int(match[1])] = int(line.split()[8]) / os.sysconf("SC_CLK_TCK")
    return stolen


def on_cpus(cpus: set[int], command: list[str]) -> list[str]:
    """Return the command, bound to CPUs."""
    return ["taskset", "-c", ",".join(str(cpu) for cpu in sorted(cpus)), *command]


class Stand:
    """Where servers are started: programs, models, a folder for repositories and logs."""

    def __init__(self, program: Path, faulty: Path, models: dict[str, Path], folder: Path) -> None:
        self.program, self.faulty, self.models, self.folder = program, faulty, models, folder
        self.server_cpus, self.client_cpus = split_cpus()
        self._capacity: dict[Setting, Capacity] = {}
        self._copy = folder / "bitmill_of_a_group"

    def _repository(self, setting: Setting) -> Path:
        name = re.sub(r"[^a-z0-9]+", "_", f"{setting.model} {setting.config} {setting.flags}".lower())
        repository = self.folder / name[:120]
        for model in filter(None, (setting.model, setting.other_model)):
            version = repository / model / "1"
            version.mkdir(parents=True, exist_ok=True)
            if not (version / "model.onnx").exists():
                (version / "model.onnx").write_bytes(self.models[model].read_bytes())
            (repository / model / "config.pbtxt").write_text(f'name: "{model}"\n{setting.config}')
        return repository

    def make_mapped(self, setting: Setting) -> None:
        """Have the next server in a control group map its program and weights from files of its own.

        Pages of files are charged to the group that reads them first: those that other servers have
        read would stay, whatever the limit. So it runs a copy, finds its weights in a plan file, and
        nothing of either is in memory.
        """
        if not self._copy.exists():
            shutil.copy2(self.program, self._copy)
        with self.serve(setting):  # leaves the plan file
            pass
        for file in (self._copy, *self._repository(setting).rglob("*")):
            if file.is_file():
                descriptor = os.open(file, os.O_RDONLY)
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)

    @contextlib.contextmanager
    def serve(self, setting: Setting, group: Path | None = None) -> Iterator[Server]:
        """Run a server that is ready for the length of the block, in a control group if one is given."""
        repository = self._repository(setting)
        port, metrics_port = free_port(), free_port()
        if setting.faults and not self.faulty.exists():
            raise NotPermitted(f"{self.faulty.name} is not built")
        program = self.program if group is None else self._copy
        start = [str(self.faulty), *setting.faults] if setting.faults else [str(program), "serve"]
        command = [*start, "--model-repository", str(repository), "--host", "127.0.0.1",
                   "--grpc-port", str(port), "--metrics-port", str(metrics_port),
                   "--drain-seconds", "0", "--grace-seconds", "2", "--measure-machine",
                   *setting.flags]
        if group is not None:
            command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
        cpus = self.server_cpus | self.client_cpus if setting.all_cpus else self.server_cpus
        log = self.folder / "server.log"
        with running(on_cpus(cpus, command), log) as process:
            time.sleep(0.3)
            if process.poll() is not None:
                raise RuntimeError(f"the server did not start: {log.read_text().strip()}")
            wait_ready(self.program, f"127.0.0.1:{port}", setting.model, log)
            yield Server(process, port, metrics_port, repository, group)

    def load(self, setting: Setting, port: int, *options: str) -> dict:
        """Load a server; return what the client measured."""
        models = ["--model", setting.model]
        if setting.other_model:
            models += ["--model", setting.other_model]
        command = [str(self.program), "load", f"127.0.0.1:{port}", *models, "--allow-errors",
                   "--json", "-", "--batch", str(setting.rows), "--warmup", "0", *options]
        done = subprocess.run(on_cpus(self.client_cpus, command), text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"the load failed: {done.stderr.strip()}")
        return json.loads(done.stdout)["results"][0]

    def steady(self, setting: Setting, port: int, rate: float, seconds: float, seed: int) -> dict:
        """Load at a rate, with the time of sending in each request."""
        return self.load(setting, port, "--rate", f"{rate:.2f}", "--duration", f"{seconds:g}",
                         "--seed", str(seed + 1), "--connections", "2", "--send-time")

    def capacity(self, setting: Setting, server: Server) -> Capacity:
        """Return what the server can do; measured once a setting."""
        if setting not in self._capacity:
            self._capacity[setting] = Capacity(*(
                self.load(setting, server.port, "--concurrency", str(in_flight), "--duration",
                          str(CAPACITY_SECONDS))["requests_per_second"] for in_flight in (48, 1)))
        return self._capacity[setting]

    def known(self, setting: Setting) -> Capacity | None:
        """Return the capacity that was measured before."""
        return self._capacity.get(setting)


def base_rate(setting: Setting, capacity: Capacity) -> float:
    """Return the rate of a load that is to leave the server room.

    What a server can do with full batches it cannot do at a third of that load, whose requests come
    one by one: a light load is measured by the slower of the two.
    """
    if setting.load >= LIGHT:
        return max(min(setting.load * capacity.most, MOST_RATE), 10.0)
    return max(min(setting.load * min(capacity.most, capacity.alone), MOST_RATE), 10.0)


@contextlib.contextmanager
def watching(server: Server, model: str) -> Iterator[Watch]:
    """Gather the reports of the block."""
    watch, stop, begin = Watch(model), threading.Event(), time.monotonic()
    with contextlib.suppress(OSError):
        last = server.report()["unix_millis"]

    def poll() -> None:
        nonlocal last
        while not stop.wait(0.25):
            with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
                report = server.report()
                if report["unix_millis"] == last:
                    continue
                last = report["unix_millis"]
                found = [m for m in report.get("models", []) if m["name"] == model]
                if found:
                    watch.times.append(time.monotonic() - begin)
                    watch.reports.append({**found[0], "host": report.get("host", {})})

    last = ""
    poller = threading.Thread(target=poll)
    poller.start()
    try:
        yield watch
    finally:
        stop.set()
        poller.join()
