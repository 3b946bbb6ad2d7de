"""What is compared with what, and which ratios are wanted."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

# Forms of a peer that run the same numbers as we do; int8 twins have ReLU in place of the sign.
SAME_NETWORK = {("onnxruntime", "float32"), ("onnxruntime", "2-bit weights"),
                ("openvino", "float32"), ("openvino", "binary")}
PEERS = ["onnxruntime", "openvino", "lce"]
# A peer's product of ternary weights rounds activations to int8 by blocks, we with one scale.
AGREEMENT = 0.98


@dataclass(frozen=True)
class Item:
    """One row of the comparison: a network, rows of a batch, threads side by side.

    `fast` runs our float layers in int8 (--precision fast), calibrated on random images. Items that
    no bar is about may be measured in a third of the `rounds`.
    """

    network: str
    rows: int = 1
    threads: int = 1
    forms: dict[str, list[str]] = field(default_factory=dict)  # by peer
    fast: bool = False
    shown_only: bool = False

    def rounds(self, asked: int) -> int:
        """Return how many rounds this item runs when so many are asked for."""
        return max(1, asked // 3) if self.shown_only else asked

    @property
    def title(self) -> str:
        """Return the network's name in tables."""
        return f"{self.network} fast" if self.fast else self.network

    @property
    def key(self) -> str:
        """Return the name in tables and in the history."""
        plural = "" if self.threads == 1 else "s"
        return f"{self.title}, batch {self.rows}, {self.threads} thread{plural}"


_RESIDUAL = {"onnxruntime": ["float32", "int8"], "openvino": ["float32", "int8", "binary"]}
_WITH_LCE = {**_RESIDUAL, "lce": ["binary"]}
_FLOAT = {"onnxruntime": ["float32"]}
_TERNARY = {"onnxruntime": ["2-bit weights"]}

ITEMS = [
    Item("birealnet18", 1, 1, _WITH_LCE),
    Item("birealnet18", 1, 1, _WITH_LCE, fast=True),
    Item("birealnet18", 8, 1, _RESIDUAL),
    Item("birealnet18", 1, 2, _RESIDUAL),
    Item("birealnet18", 8, 2, _RESIDUAL),
    Item("quicknet", 1, 1, _WITH_LCE),
    Item("quicknet_small", 1, 1, _WITH_LCE, shown_only=True),
    Item("reactnet", 1, 1, _FLOAT, shown_only=True),
    Item("binarydensenet28", 1, 1, _FLOAT, shown_only=True),
    Item("ternary_mixer", 1, 1, _FLOAT, shown_only=True),
    Item("cnv_w1a1", 1, 1, _FLOAT),
    Item("cnv_w1a1", 64, 1, _FLOAT),
    Item("lfc_w1a1", 1, 1, _FLOAT),
    Item("lfc_w1a1", 64, 1, _FLOAT),
    Item("binary_conv_56x56x64", 1, 1, {"openvino": ["binary"]}),
    Item("ternary_dense_1024", 1024, 1, _TERNARY),
    Item("ternary_dense_4096", 1, 1, _TERNARY),
]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Spread:
        """Return them; the quartiles of fewer than two values are the value itself."""
        if len(values) < 2:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)


@dataclass
class Measured:
    """The rounds of an item: milliseconds of a batch, ours and of each (peer, form)."""

    item: Item
    ours: list[float] = field(default_factory=list)
    peers: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ratio(self, peer: tuple[str, str]) -> Spread:
        """Return how many times longer the peer took, within a round."""
        return Spread.of([theirs / ours for ours, theirs in
                          zip(self.ours, self.peers[peer], strict=True)])

    def least(self, names: list[str]) -> float | None:
        """Return the median ratio to the fastest form of these peers."""
        ratios = [self.ratio(key).median for key in self.peers if key[0] in names]
        return min(ratios, default=None)


@dataclass(frozen=True)
class Bar:
    """A ratio to the fastest of some peers that is wanted of an item."""

    item: str  # its key
    peers: list[str]
    wanted: float
    about: str


BARS = [
    Bar("birealnet18, batch 1, 1 thread", PEERS, 3.3, "times as fast as the best peer"),
    Bar("birealnet18 fast, batch 1, 1 thread", PEERS, 3.3, "times as fast as the best peer"),
    Bar("quicknet, batch 1, 1 thread", ["lce"], 5.0, "times as fast as Larq Compute Engine"),
    Bar("cnv_w1a1, batch 1, 1 thread", ["onnxruntime"], 10.0, "times as fast as ONNX Runtime"),
    Bar("lfc_w1a1, batch 1, 1 thread", ["onnxruntime"], 10.0, "times as fast as ONNX Runtime"),
    Bar("binary_conv_56x56x64, batch 1, 1 thread", ["openvino"], 4.0,
        "times as fast as OpenVINO's layer"),
    Bar("ternary_dense_1024, batch 1024, 1 thread", ["onnxruntime"], 2.0,
        "times as fast as MatMulNBits(2)"),
    Bar("ternary_dense_4096, batch 1, 1 thread", ["onnxruntime"], 2.0,
        "times as fast as MatMulNBits(2)"),
]


def row_microseconds(results: list[dict], threads: int) -> float:
    """Return the time of a row with so many copies side by side, out of a report's results.

    With several threads a report also has one thread alone, and a batch that they share.
    """
    (result,) = [result for result in results
                 if result["kind"] == "model" and result["threads"] == threads]
    return result["value"]


def verdicts(results: list[Measured]) -> list[str]:
    """Return a line for each bar that could be measured, met or not."""
    lines = []
    by_key = {result.item.key: result for result in results}
    for bar in BARS:
        result = by_key.get(bar.item)
        ratio = result.least(bar.peers) if result else None
        if ratio is not None:
            lines.append(_verdict(bar.item, bar.about, ratio, bar.wanted))
    one = by_key.get("birealnet18, batch 1, 1 thread")
    for key, rows, about, wanted in (
            ("birealnet18, batch 8, 1 thread", 8, "images/s of batch 8 over batch 1", 1.1),
            ("birealnet18, batch 1, 2 threads", 1, "images/s of two threads over one", 1.9)):
        other = by_key.get(key)
        if one and other:
            gain = Spread.of(one.ours).median / (Spread.of(other.ours).median / rows)
            lines.append(_verdict("birealnet18", about, gain, wanted))
    return lines


def _verdict(item: str, about: str, value: float, wanted: float) -> str:
    state = "met" if value >= wanted else "NOT MET"
    return f"- {state}: {item}, {about}: {value:.2f} (at least {wanted:g})"
