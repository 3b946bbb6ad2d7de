"""Writes the golden outputs of one shipped network.

usage: make_golden.py NAME.onnx IMAGES.npz OUT.npz [--samples N] [--atol A]

IMAGES.npz holds images uint8[N,H,W] and labels. OUT.npz gets x (exactly what a client sends), y (computed by
ref_eval.py in numpy and torch), labels and atol (0: every output is an integer and is compared exactly).
"""
import argparse

import numpy as np

import ref_eval


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("images")
    p.add_argument("out")
    p.add_argument("--samples", type=int, default=32)
    p.add_argument("--atol", type=float, default=1e-3)
    a = p.parse_args()
    data = np.load(a.images)
    x = data["images"][:a.samples, None].astype(np.float32)
    np.savez_compressed(a.out, x=x, y=ref_eval.logits(a.model, x).astype(np.float32),
                        labels=data["labels"][:a.samples].astype(np.int16), atol=np.float32(a.atol))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
