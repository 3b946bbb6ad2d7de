#!/usr/bin/env python3
"""Make expected.npz: samples, and what scikit-learn, SciPy and NumPy say of them.

Usage:  make_expected.py [FILE]      (needs numpy, scipy and scikit-learn)

The tests of server/analysis/quality compute the same from the samples. The bins of PSI are made
here with numpy.quantile and numpy.searchsorted, not with the code under test.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn import metrics

CLASSES = 7
ADDED = 0.5  # to every bin of PSI


def classification(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """600 labels of seven classes: class 5 is never predicted, class 6 never true nor predicted."""
    truth = rng.choice(6, size=600, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    wrong = rng.random(600) < 0.3
    predicted = np.where(wrong, rng.integers(0, 5, 600), np.minimum(truth, 4))
    score = np.round(rng.random(600), 2).astype(np.float32)  # many on the edges of bins
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, predicted, average="macro", zero_division=0
    )
    correct = (truth == predicted).astype(float)
    place = np.maximum(np.ceil(score.astype(float) * 10).astype(int) - 1, 0)
    error = sum(
        np.mean(place == b) * abs(correct[place == b].mean() - score[place == b].astype(float).mean())
        for b in range(10)
        if np.any(place == b)
    )
    return {
        "truth": truth.astype(np.int32),
        "predicted": predicted.astype(np.int32),
        "score": score,
        "macro": np.array(
            [metrics.accuracy_score(truth, predicted), precision, recall, f1, error]
        ),
        "confusion": metrics.confusion_matrix(truth, predicted, labels=range(CLASSES)).astype(
            np.int64
        ),
    }


def regression(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Values and what was predicted of them."""
    truth = rng.normal(size=300)
    predicted = truth + rng.normal(scale=0.2, size=300)
    return {
        "value_truth": truth,
        "value_predicted": predicted,
        "value_errors": np.array(
            [
                metrics.mean_absolute_error(truth, predicted),
                np.sqrt(metrics.mean_squared_error(truth, predicted)),
            ]
        ),
    }


def cuts_of(reference: np.ndarray, parts: int) -> np.ndarray:
    """Just below the smallest value, then the quantiles up to the largest, each once."""
    quantiles = np.quantile(
        reference, np.arange(1, parts + 1) / parts, method="inverted_cdf"
    )
    below = np.nextafter(reference.min(), np.float32(-np.inf))
    return np.unique(np.concatenate([[below], quantiles]).astype(np.float32))


def histogram(values: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Values in (cut, next cut], and beyond both ends."""
    return np.bincount(np.searchsorted(cuts, values, side="left"), minlength=len(cuts) + 1)


def drift(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Six features: normal, mostly zero, constant, whole numbers, and two that did not change."""
    n, m = 1500, 2000

    def rows(count: int, changed: bool) -> np.ndarray:
        shift = 0.5 if changed else 0.0
        columns = [
            rng.normal(shift, 1, count),
            np.where(rng.random(count) < (0.5 if changed else 0.9), 0, rng.random(count)),
            np.full(count, 3.0) + (rng.random(count) < 0.02) * shift,
            rng.integers(0, 5 if changed else 4, count),
            rng.exponential(size=count),
            rng.integers(0, 256, count),
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    reference, sample = rows(m, False), rows(n, True)
    psi, binned, exact = [], [], []
    for i in range(reference.shape[1]):
        r, s = reference[:, i], sample[:, i]
        deciles, fine = cuts_of(r, 10), cuts_of(r, 40)
        p, q = histogram(s, deciles) + ADDED, histogram(r, deciles) + ADDED
        p, q = p / p.sum(), q / q.sum()
        psi.append(np.sum((p - q) * np.log(p / q)))
        below_s = np.searchsorted(np.sort(s), fine, side="right") / n
        below_r = np.searchsorted(np.sort(r), fine, side="right") / m
        binned.append(np.max(np.abs(below_s - below_r)))
        exact.append(stats.ks_2samp(s, r).statistic)
    return {
        "reference": reference,
        "sample": sample,
        "psi": np.array(psi),
        "ks_at_cuts": np.array(binned),
        "ks": np.array(exact),
    }


def intervals() -> dict[str, np.ndarray]:
    """Wilson's intervals: [part, whole] and [low, high]."""
    cases = [(0, 10), (10, 10), (5, 10), (190, 200), (200, 200), (9_512, 10_000)]
    bounds = [stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in cases]
    return {
        "share": np.array(cases, dtype=np.int64),
        "interval": np.array([[b.low, b.high] for b in bounds]),
    }


def main(argv: list[str]) -> int:
    """Write the file; 0."""
    path = Path(argv[1]) if len(argv) > 1 else Path(__file__).with_name("expected.npz")
    rng = np.random.default_rng(20261126)
    np.savez_compressed(
        path, **classification(rng), **regression(rng), **drift(rng), **intervals()
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
