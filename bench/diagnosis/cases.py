"""The causes and how each is brought about, at three intensities."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import injections
from scoring import HEALTHY
from stand import ROOT, NotPermitted, Server, Setting, Stand

INTENSITIES = 3
MICRO, MILLI, WEIGHTS = "digits_w1a1", "cnv_w1a1", "ternary_dense_4096"
MODELS = (MICRO, MILLI, WEIGHTS)
REQUEST_BYTES = {MICRO: 400, MILLI: 12_500, WEIGHTS: 16_600}  # of one row, on the wire
IDENTITY = {elements: f"identity_fp32_{elements}" for elements in (1024, 262_144, 1_048_576,
                                                                  2_621_440)}
HELD_US = ("200", "500", "2000")  # that an execution holds a lock
PAIRS = ("batch_formation_wait+slow_client", "batch_formation_wait+cpu_throttled",
         "batch_formation_wait+noisy_neighbour")


@dataclass
class Situation:
    """What an injection may know of the case: the stand, the server, the usual load and its cost."""

    stand: Stand
    server: Server
    setting: Setting
    rate: float  # of the usual load
    capacity: float
    cpu_cores: float  # that the server uses under that load


@dataclass
class Injected:
    """What the load of the case has to follow."""

    port: int | None = None  # of a proxy
    rate: float | None = None


Start = Callable[[Situation, int], contextlib.AbstractContextManager[Injected]]
Change = Callable[[Setting, int], Setting]


@dataclass(frozen=True)
class Injection:
    """How a cause is brought about: in how the server is started, or while it runs, or both."""

    change: Change | None = None  # of the setting, at the start
    start: Start | None = None  # while it runs
    base: Change = lambda setting, intensity: setting  # what the control has in common
    models: tuple[str, ...] = MODELS
    # Beside the control: what the injection costs clients on this machine apart from the cause.
    control: Start | None = None


@contextlib.contextmanager
def overload(at: Situation, intensity: int) -> Iterator[Injected]:
    """Send more than can be answered."""
    yield Injected(rate=(1.2, 1.5, 2.0)[intensity] * at.capacity)


@contextlib.contextmanager
def throttled(at: Situation, intensity: int) -> Iterator[Injected]:
    """Set a CPU quota about what the server uses."""
    with injections.quota(at.server, (1.1, 0.95, 0.8)[intensity] * at.cpu_cores):
        yield Injected()


@contextlib.contextmanager
def neighbour(at: Situation, intensity: int) -> Iterator[Injected]:
    """Have others use the server's CPUs."""
    each, nicer = ((1, -2), (1, -5), (2, -5))[intensity]
    with injections.hogs("spin", at.stand.server_cpus, each, nicer):
        yield Injected()


def hogs_beside(kind: str) -> Start:
    """Return an injection of hogs on the CPUs that the server does not use."""

    @contextlib.contextmanager
    def start(at: Situation, intensity: int) -> Iterator[Injected]:
        free = at.stand.client_cpus - at.stand.server_cpus
        if not free:
            raise NotPermitted("there is no CPU beside the server's")
        with injections.hogs(kind, free, (1, 2, 3)[intensity]):
            yield Injected()

    return start


@contextlib.contextmanager
def slow_client(at: Situation, intensity: int) -> Iterator[Injected]:
    """A long way, a longer one, and a way that takes hardly more bytes than are sent."""
    way = ({"delay_ms": 5}, {"delay_ms": 30},
           {"up": 1.3 * at.rate * REQUEST_BYTES[at.setting.model]})[intensity]
    with injections.slow_network(at.server, at.stand.client_cpus, **way) as port:
        yield Injected(port=port)


@contextlib.contextmanager
def cold_start(at: Situation, intensity: int) -> Iterator[Injected]:
    """Load the model again and again."""
    with injections.reloads(at.server, at.setting.model, (4.0, 2.0, 1.0)[intensity]):
        yield Injected()


@contextlib.contextmanager
def imbalance(at: Situation, intensity: int) -> Iterator[Injected]:
    """Bind a worker to a CPU that others use."""
    each, nicer = ((1, 0), (1, -5), (2, -5))[intensity]
    with injections.pinned_worker(at.server, at.stand.server_cpus, each, nicer):
        yield Injected()


@contextlib.contextmanager
def memory_pressure(at: Situation, intensity: int) -> Iterator[Injected]:
    """Take the memory of mapped files, again and again."""
    with injections.short_of_memory(at.server, (1.0, 0.5, 0.2)[intensity]):
        yield Injected()


def one_row(setting: Setting, _: int = 0, instances: int = 2) -> Setting:
    """Return the setting with batches of a single request on every CPU: executions compete."""
    return replace(setting, all_cpus=True, load=0.6,
                   config=f"max_batch_size: 1\ninstance_group [ {{ count: {instances} }} ]\n")


def large_tensors(setting: Setting, intensity: int) -> Setting:
    """Return a model that only copies, of 1, 4 and 10 MB."""
    elements = sorted(IDENTITY)[1 + intensity]
    return replace(setting, model=IDENTITY[elements], config="max_batch_size: 4\n")


def formation(setting: Setting, intensity: int) -> Setting:
    """Return the setting with a long wait for company."""
    delay = (5_000, 20_000, 50_000)[intensity]
    return replace(setting, config=setting.config +
                   f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}\n")


INJECTIONS: dict[str, Injection] = {
    HEALTHY: Injection(),
    "overload": Injection(start=overload),
    "batch_formation_wait": Injection(change=formation,
                                      base=lambda s, i: replace(s, load=0.15)),
    # Beside clients on their CPUs; what that costs without the memory's bandwidth is the control's.
    "memory_bound": Injection(start=hogs_beside("stream"), control=hogs_beside("spin"),
                              models=(WEIGHTS,)),
    "cpu_throttled": Injection(start=throttled),
    "noisy_neighbour": Injection(start=neighbour),
    "serialization": Injection(change=large_tensors, models=(IDENTITY[1024],),
                               base=lambda s, i: replace(s, config="max_batch_size: 4\n")),
    "slow_client": Injection(start=slow_client, base=lambda s, i: replace(s, load=0.1)),
    "cold_start": Injection(
        start=cold_start,
        base=lambda s, i: replace(s, load=0.05, flags=(
            "--plan-cache", "off", "--model-control-mode", "poll", "--repository-poll-secs", "1"))),
    "lock_contention": Injection(
        # What holds the lock does not also take the CPUs from those who wait: one of two is left.
        # Without it executions take as long: only the waiting is new.
        base=lambda s, i: replace(one_row(s, instances=4), faults=("--busy-us", HELD_US[i])),
        change=lambda s, i: replace(s, faults=("--lock-us", HELD_US[i]))),
    # Not of a model that the threads which receive requests run by the way.
    "imbalance": Injection(base=one_row, start=imbalance, models=(MILLI, WEIGHTS)),
    "padding_waste": Injection(
        base=lambda s, i: replace(s, load=0.1),
        change=lambda s, i: replace(s, faults=("--pad-rows", str((8, 16, 32)[i])))),
    "memory_pressure": Injection(base=lambda s, i: replace(s, memory_group=True),
                                 start=memory_pressure, models=(WEIGHTS,)),
}
NOT_HERE = {
    "device_queue": "there is no accelerator backend to queue at",
    "compute_bound": "what bounds a model is the model, not a fault: see docs/analysis_diagnosis.md",
}


def field(number: int, value: int | bytes) -> bytes:
    """Return a field of a protobuf message."""

    def varint(rest: int) -> bytes:
        out = bytearray()
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        return bytes([*out, rest])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def identity_model(elements: int) -> bytes:
    """Return an ONNX file of one Identity node on rows of so many floats."""

    def tensor(name: bytes) -> bytes:
        shape = field(1, field(2, b"batch")) + field(1, field(1, elements))
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))

    node = field(1, b"INPUT0") + field(2, b"OUTPUT0") + field(3, b"copy") + field(4, b"Identity")
    graph = (field(1, node) + field(2, b"identity") + field(11, tensor(b"INPUT0")) +
             field(12, tensor(b"OUTPUT0")))
    return field(1, 7) + field(7, graph) + field(8, field(2, 13))


def find_models(built: Path, folder: Path) -> dict[str, Path]:
    """Return the files of the models; those that are not there are left out."""
    models = {MICRO: ROOT / "models" / "repository" / MICRO / "1" / "model.onnx"}
    models |= {name: built / f"{name}.onnx" for name in (MILLI, WEIGHTS)}
    for elements, name in IDENTITY.items():
        models[name] = folder / f"{name}.onnx"
        models[name].write_bytes(identity_model(elements))
    return {name: file for name, file in models.items() if file.exists()}
