"""What is done to a server that runs. Each is a context manager that undoes itself at its end; one
that this machine does not allow raises NotPermitted with the reason."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from stand import HERE, NotPermitted, Server, free_port, on_cpus

PERIOD_US = 100_000
ROOT_GROUPS = Path("/sys/fs/cgroup")


def own_group(controller: str) -> tuple[Path, int]:
    """Return the folder of this process's control group for a controller, and its version."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return ROOT_GROUPS / controller / path.lstrip("/"), 1
        unified = ROOT_GROUPS / path.lstrip("/")
        if controllers == "" and (unified / "cgroup.controllers").exists():
            if controller in (unified / "cgroup.controllers").read_text().split():
                return unified, 2
    raise NotPermitted(f"there is no {controller} control group")


@contextlib.contextmanager
def new_group(controller: str) -> Iterator[tuple[Path, int]]:
    """Make a control group below the own one, for the length of the block."""
    parent, version = own_group(controller)
    group = parent / f"bitmill_diagnosis_{os.getpid()}"
    try:
        if version == 2:
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        group.mkdir(exist_ok=True)
    except OSError as error:
        raise NotPermitted(f"no control group can be made: {error.strerror}") from error
    try:
        yield group, version
    finally:
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (parent / "cgroup.procs").write_text(pid)
            group.rmdir()


@contextlib.contextmanager
def quota(server: Server, cores: float) -> Iterator[None]:
    """Hold the server back to so many CPUs; to 0.02 at least, so that it can do anything at all."""
    micros = int(max(cores, 0.02) * PERIOD_US)
    with new_group("cpu") as (group, version):
        try:
            if version == 1:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(micros))
            else:
                (group / "cpu.max").write_text(f"{micros} {PERIOD_US}")
            (group / "cgroup.procs").write_text(str(server.process.pid))
        except OSError as error:
            raise NotPermitted(f"no CPU quota can be set: {error.strerror}") from error
        yield


@contextlib.contextmanager
def child(command: list[str], cpus: set[int], nicer: int = 0, ready: str = "") -> Iterator[None]:
    """Run a program for the length of the block; wait for a line of it, where one is named."""
    level = max(os.getpriority(os.PRIO_PROCESS, 0) + nicer, -20)
    if nicer < 0 and os.geteuid() != 0:
        raise NotPermitted("a negative nice level needs root")
    process = subprocess.Popen(on_cpus(cpus, command), text=True, stdout=subprocess.PIPE,
                               preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, level))
    try:
        if ready and ready not in (process.stdout.readline() if process.stdout else ""):
            raise RuntimeError(f"{command} did not start")
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextlib.contextmanager
def hogs(kind: str, cpus: set[int], each: int, nicer: int = 0) -> Iterator[None]:
    """Run `each` hogs on each of the CPUs."""
    with contextlib.ExitStack() as stack:
        for cpu in sorted(cpus):
            for _ in range(each):
                stack.enter_context(child([sys.executable, str(HERE / "hog.py"), kind], {cpu},
                                          nicer))
        yield


@contextlib.contextmanager
def slow_network(server: Server, cpus: set[int], delay_ms: float = 0, up: float = 0,
                 down: float = 0) -> Iterator[int]:
    """Put a proxy before the server; its port is what clients must use."""
    port = free_port()
    command = [sys.executable, str(HERE / "proxy.py"), str(port), str(server.port), "--delay-ms",
               f"{delay_ms:g}", "--up", f"{up:.0f}", "--down", f"{down:.0f}"]
    with child(command, cpus, ready="listening"):
        yield port


@contextlib.contextmanager
def repeated(action, seconds: float) -> Iterator[None]:
    """Do something at the begin and then every so many seconds."""
    stop = threading.Event()

    def run() -> None:
        while True:
            action()
            if stop.wait(seconds):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def reloads(server: Server, model: str, seconds: float) -> contextlib.AbstractContextManager[None]:
    """Have the server load its model again and again, as if its file had changed."""
    file = server.repository / model / "1" / "model.onnx"

    def replace() -> None:
        copy = file.with_suffix(".new")
        copy.write_bytes(file.read_bytes())
        copy.replace(file)

    return repeated(replace, seconds)


def busy_workers(pid: int) -> list[int]:
    """Return the threads of a server that run executions, most CPU time first."""
    times: dict[int, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().strip() != "worker":
                continue
            fields = (task / "stat").read_text().rsplit(") ", 1)[1].split()
            times[int(task.name)] = int(fields[11]) + int(fields[12])
    return sorted(times, key=lambda task: -times[task])


@contextlib.contextmanager
def pinned_worker(server: Server, cpus: set[int], spinners: int, nicer: int) -> Iterator[None]:
    """Bind the server's busiest worker to one CPU, and have others use that too."""
    cpu, workers = min(cpus), busy_workers(server.process.pid)
    if not workers:
        raise NotPermitted("the server's threads have no names that tell which are workers")
    worker = workers[0]
    before = os.sched_getaffinity(worker)
    os.sched_setaffinity(worker, {cpu})
    try:
        with hogs("spin", {cpu}, spinners, nicer):
            yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(worker, before)


def evict(group: Path) -> None:
    """Take the pages of mapped files from a group, for once."""
    if (group / "memory.reclaim").exists():  # version 2
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        with contextlib.suppress(OSError):  # it found less than that
            (group / "memory.reclaim").write_text(stat["file"])
        return
    limit = group / "memory.limit_in_bytes"
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    try:
        with contextlib.suppress(OSError):  # some of it is in use
            limit.write_text(str(int(stat["rss"]) + (1 << 20)))
    finally:
        limit.write_text("-1")


@contextlib.contextmanager
def short_of_memory(server: Server, every: float) -> Iterator[None]:
    """Take the pages of mapped files from the server's group every so many seconds.

    So does a neighbour in the group that wants memory, again and again. A limit that lasts takes
    pages that nobody needs, or else, without a swap, leaves a server that cannot go on.
    """
    group = server.memory_group
    if group is None:
        raise NotPermitted("the server has no memory control group of its own")
    if not any((group / name).exists() for name in ("memory.reclaim", "memory.limit_in_bytes")):
        raise NotPermitted("nothing takes memory from a control group here")
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            evict(group)
            stop.wait(every)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
