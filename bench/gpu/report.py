#!/usr/bin/env python3
"""From what bitmill_gpu_bench prints to JSON and a page for docs/benchmarks.md.

    report.py OUTPUT --json FILE --markdown FILE

Where torch sees the device, the vendor's products of bytes and halves of the same sizes as the dense layers are timed too, and where
bitblas is installed its product of 2-bit weights and bytes.
Exit code 0, 1 when OUTPUT has no results.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def read_results(text: str) -> dict | None:
    """The JSON object that the benchmark prints, or None when it did not come that far."""
    for line in reversed(text.splitlines()):
        if line.startswith('{"card"'):
            return json.loads(line)
    return None


def median_seconds(torch, run) -> float:
    """Of one call, by the device's own events, after some that do not count."""
    times = []
    for _ in range(30):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1e-3)
    return sorted(times[5:])[len(times[5:]) // 2]


def peer_products(size: int = 4096, rows: tuple[int, ...] = (32, 256)) -> list[dict]:
    """TMAC/s of the vendor's library, through torch, and of bitblas with 2-bit weights; nothing of what is not installed."""
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    results = []

    def add(by: str, kind: str, count: int, run) -> None:
        seconds = median_seconds(torch, run)
        results.append({"by": by, "type": kind, "rows": count, "size": size, "us": seconds * 1e6,
                        "tmac_s": count * size * size / seconds * 1e-12})

    def codes(*shape: int, low: int = -128, high: int = 127):
        return torch.randint(low, high, shape, dtype=torch.int8, device="cuda")

    for count in rows:
        a, b = codes(count, size), codes(size, size).t()
        add("torch", "int8", count, lambda: torch._int_mm(a, b))
        half = [torch.randn(*shape, dtype=torch.float16, device="cuda") for shape in ((count, size), (size, size))]
        add("torch", "fp16", count, lambda: torch.matmul(*half))
        try:
            product = bitblas_product(count, size)
            packed = product.transform_weight(codes(size, size, low=-1, high=2))
            add("bitblas", "int2 x int8", count, lambda: product(a, packed))
        except ImportError:
            continue
        except Exception as error:  # it compiles for the card that is there, and may know it not
            print(f"report: bitblas, {count} rows: {error}", file=sys.stderr)
    return results


def bitblas_product(rows: int, size: int):
    """Ternary weights in 2 bits times bytes, sums of 32 bits, compiled for the card."""
    import bitblas
    config = bitblas.MatmulConfig(M=rows, N=size, K=size, A_dtype="int8", W_dtype="int2", accum_dtype="int32", out_dtype="int32",
                                  layout="nt", with_bias=False, group_size=None, with_scaling=False, with_zeros=False, zeros_mode=None)
    return bitblas.Matmul(config=config)


def markdown(results: dict) -> str:
    """The page: the card, its limits, a line for every layer and batch."""
    lines = [f"### {results['card']} (compute capability {results['compute_capability'] / 10:.1f}, driver {results['driver']})", "",
             f"Limits measured in the same run: copies {results['copy_gb_s']:.0f} GB/s, products of bits "
             f"{results['bit_tmac_s']:.1f} TMAC/s, of bytes {results['byte_tmac_s']:.1f} TMAC/s.", "",
             "| layer | rows | kernel | us | TMAC/s | of its products' limit |", "| --- | ---: | --- | ---: | ---: | ---: |"]
    for layer in results["layers"]:
        lines.append(f"| {layer['layer']} | {layer['rows']} | `{layer['kernel']}` | {layer['us']:.1f} | {layer['tmac_s']:.2f} | "
                     f"{layer['product_share'] * 100:.0f} % |")
    for peer in results.get("peers", []):
        lines.append(f"| {peer['type']} product, {peer['size']} | {peer['rows']} | {peer['by']} | {peer['us']:.1f} | "
                     f"{peer['tmac_s']:.2f} | |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    options = parser.parse_args(argv)
    results = read_results(options.output.read_text())
    if results is None:
        print(f"report: {options.output} has no results", file=sys.stderr)
        return 1
    results["peers"] = peer_products()
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    options.markdown.write_text(markdown(results))
    print(options.markdown.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
