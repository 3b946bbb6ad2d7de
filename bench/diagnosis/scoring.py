"""What became of cases with a known cause: the scores, and the tables that show them.

Pure functions of plain values; tests/bench/test_diagnosis.py has their tests.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HEALTHY, UNKNOWN, NEIGHBOUR = "healthy", "unknown", "noisy_neighbour"
LAST = 3  # reports at the end of a case whose majority is the verdict
WORSE_SHARE, WORSE_MS = 1.4, 0.2  # of p99 at the client, from where on an injection is felt
WORSE_THAN_ONE = 1.1  # likewise each of two, beside the other alone
BARS = {"top1": 0.95, "macro_f1": 0.93, "healthy_recall": 0.99, "pairs_in_top2": 0.90}
MOST_SECONDS_TO_NAME = 5.0
MOST_STOLEN = 0.01  # of the time of a CPU, by the hypervisor, in a case that counts


@dataclass
class Outcome:
    """A case that was run, or why it was not."""

    cause: str  # that was injected; "a+b" for two at once, HEALTHY for none
    model: str
    intensity: int
    seed: int
    verdict: str = ""
    baseline: str = ""
    named_after: float | None = None  # seconds from the begin of the injection
    control_p99_ms: float = 0.0  # at the client, without the injection
    p99_ms: float = 0.0
    first_p99_ms: float = 0.0  # of two causes at once: with the first alone
    second_p99_ms: float = 0.0  # likewise; 0: not measured
    findings: list[str] = field(default_factory=list)  # causes, largest first
    evidence: str = ""
    stolen: float = 0.0  # by the hypervisor, of the time of the server's CPU that lost most
    skipped: str = ""  # the reason; nothing else is set then

    @property
    def felt(self) -> bool:
        """Whether clients were worse off, of two causes by each; a healthy run counts as it is."""
        if self.cause == HEALTHY:
            return True
        alone = max(self.first_p99_ms, self.second_p99_ms)
        if self.pair and self.p99_ms < max(WORSE_THAN_ONE * alone, alone + WORSE_MS):
            return False
        least = max(WORSE_SHARE * self.control_p99_ms, self.control_p99_ms + WORSE_MS)
        return self.p99_ms >= least

    @property
    def disturbed(self) -> bool:
        """Whether the machine itself brought about a noisy neighbour, beside what was injected."""
        return self.stolen > MOST_STOLEN

    @property
    def top2(self) -> list[str]:
        """The causes of the two largest findings."""
        return self.findings[:2]

    @property
    def apart(self) -> str:
        """The verdict, were noisy neighbours not looked at: for machines that others use."""
        if self.verdict != NEIGHBOUR:
            return self.verdict
        others = [cause for cause in self.findings if cause not in (NEIGHBOUR, UNKNOWN)]
        return others[0] if others else HEALTHY

    @property
    def pair(self) -> bool:
        """Whether two causes were injected at once."""
        return "+" in self.cause


def cause_of(diagnosis: dict) -> str:
    """Return the cause of a diagnosis or finding as JSON has it; the first one is left out there."""
    return str(diagnosis.get("cause", HEALTHY)).lower()


def verdict_of(reports: Sequence[dict]) -> str:
    """Return what most of the last reports of a model say; the newest of those that are equal."""
    last = [cause_of(report.get("diagnosis", {})) for report in reports[-LAST:]]
    if not last:
        return UNKNOWN
    return max(reversed(last), key=last.count)


def first_named(cause: str, times: Sequence[float], reports: Sequence[dict]) -> float | None:
    """Return when a report first named the cause; None when none did."""
    for at, report in zip(times, reports):
        if cause_of(report.get("diagnosis", {})) == cause:
            return at
    return None


def baseline_of(report: dict, control_p99_ms: float, p99_ms: float) -> str:
    """Return what the usual rule says: the longer of queue and compute time is the bottleneck.

    It knows no healthy; here it may call so what is no slower than the control, which flatters it.
    """
    if p99_ms < max(WORSE_SHARE * control_p99_ms, control_p99_ms + WORSE_MS):
        return HEALTHY
    stages = {stage["stage"]: stage.get("mean_ms", 0.0) for stage in report.get("stages", [])}
    return "overload" if stages.get("queue", 0.0) > stages.get("compute", 0.0) else "compute_bound"


def findings_of(report: dict) -> list[str]:
    """Return the causes that a report finds, largest first."""
    return [cause_of(finding) for finding in report.get("diagnosis", {}).get("findings", [])]


def scored(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the cases that count: run, undisturbed, and one cause that clients felt or none."""
    return [o for o in outcomes if not o.skipped and not o.disturbed and not o.pair and o.felt]


def matrix(outcomes: Iterable[Outcome], of: str = "verdict") -> dict[str, dict[str, int]]:
    """Return counts by true cause and verdict."""
    counts: dict[str, dict[str, int]] = {}
    for outcome in scored(outcomes):
        row = counts.setdefault(outcome.cause, {})
        answer = getattr(outcome, of)
        row[answer] = row.get(answer, 0) + 1
    return counts


def macro_f1(counts: dict[str, dict[str, int]]) -> float:
    """Return the mean F1 over the true causes."""
    scores = []
    for cause, row in counts.items():
        hit = row.get(cause, 0)
        given = sum(other.get(cause, 0) for other in counts.values())
        scores.append(2 * hit / (sum(row.values()) + given) if hit else 0.0)
    return statistics.fmean(scores) if scores else 0.0


def share(hits: int, of: int) -> float | None:
    """Return a share; None of nothing."""
    return hits / of if of else None


def summarize(outcomes: Sequence[Outcome], of: str = "verdict") -> dict:
    """Return the scores of the server's verdicts, or of the baseline's."""
    counts = matrix(outcomes, of)
    cases = scored(outcomes)
    hits = [o for o in cases if getattr(o, of) == o.cause]
    named = sorted(o.named_after for o in cases if o.cause != HEALTHY and o.named_after is not None)
    healthy = counts.get(HEALTHY, {})
    pairs = [o for o in outcomes if o.pair and not o.skipped and not o.disturbed and o.felt]
    both = [o for o in pairs if set(o.cause.split("+")) == set(o.top2)]
    return {
        "cases": len(cases),
        "top1": share(len(hits), len(cases)),
        "macro_f1": macro_f1(counts),
        "healthy_recall": share(healthy.get(HEALTHY, 0), sum(healthy.values())),
        "unknown_share": share(sum(getattr(o, of) == UNKNOWN for o in cases), len(cases)),
        "recall": {cause: share(row.get(cause, 0), sum(row.values()))
                   for cause, row in counts.items()},
        "seconds_to_name": {
            "median": statistics.median(named) if named else None,
            "worst": named[-1] if named else None,
            "within_5_s": share(sum(at <= MOST_SECONDS_TO_NAME for at in named),
                                sum(o.cause != HEALTHY for o in cases)),
        },
        "pairs": len(pairs),
        "pairs_in_top2": share(len(both), len(pairs)),
        "matrix": counts,
    }


def halves(outcomes: Iterable[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Return the half that may be looked at (even seeds) and the one that is scored (odd)."""
    every = list(outcomes)
    return ([o for o in every if o.seed % 2 == 0], [o for o in every if o.seed % 2 == 1])


def missed_bars(summary: dict) -> list[str]:
    """Return the bars that a summary does not reach; what was not measured is not missed."""
    missed = [f"{name} {summary[name]:.3f}, bar {bar:g}" for name, bar in BARS.items()
              if summary[name] is not None and summary[name] < bar]
    median = summary["seconds_to_name"]["median"]
    if median is not None and median > MOST_SECONDS_TO_NAME:
        missed.append(f"named after {median:.1f} s, bar {MOST_SECONDS_TO_NAME:g}")
    return missed


def matrix_table(counts: dict[str, dict[str, int]]) -> str:
    """Return the confusion matrix in Markdown: a row a true cause, a column a verdict."""
    columns = sorted({verdict for row in counts.values() for verdict in row})
    lines = ["| injected | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for cause in sorted(counts):
        cells = [str(counts[cause][c]) if c in counts[cause] else "" for c in columns]
        lines.append(f"| {cause} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float | None, form: str = "{:.3f}") -> str:
    """Format a figure that may not have been measured."""
    return "-" if value is None else form.format(value)


def score_table(columns: dict[str, dict]) -> str:
    """Return summaries beside each other in Markdown."""
    rows = [("cases", "cases", "{:d}"), ("top-1", "top1", "{:.3f}"),
            ("macro F1", "macro_f1", "{:.3f}"), ("healthy called healthy", "healthy_recall", "{:.3f}"),
            ("called unknown", "unknown_share", "{:.3f}"),
            ("both of two causes in the top 2", "pairs_in_top2", "{:.3f}")]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for title, key, form in rows:
        cells = [number(summary[key], form) for summary in columns.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for title, key in (("named after, s, median", "median"), ("named after, s, worst", "worst")):
        cells = [number(summary["seconds_to_name"][key], "{:.1f}") for summary in columns.values()]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def skipped_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a line for each injection that was not possible, with the reason."""
    reasons: dict[tuple[str, str], int] = {}
    for outcome in outcomes:
        if outcome.skipped:
            key = (outcome.cause, outcome.skipped)
            reasons[key] = reasons.get(key, 0) + 1
    return [f"skipped {cause} ({count}): {why}" for (cause, why), count in sorted(reasons.items())]
