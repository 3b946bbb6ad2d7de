#!/usr/bin/env python3
"""From what bitmill_gpu_bench prints to JSON and a page for docs/benchmarks.md.

    report.py OUTPUT --json FILE --markdown FILE

Where torch sees the device, the vendor's products of bytes and halves of the same sizes as the dense layers are timed too.
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


def vendor_products(size: int = 4096, rows: tuple[int, ...] = (32, 256)) -> list[dict]:
    """TMAC/s of the vendor's library, through torch; nothing where there is none."""
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    results = []
    for count in rows:
        cases = {
            "int8": (torch._int_mm, torch.randint(-128, 127, (count, size), dtype=torch.int8, device="cuda"),
                     torch.randint(-128, 127, (size, size), dtype=torch.int8, device="cuda").t()),
            "fp16": (torch.matmul, torch.randn(count, size, dtype=torch.float16, device="cuda"),
                     torch.randn(size, size, dtype=torch.float16, device="cuda")),
        }
        for name, (product, a, b) in cases.items():
            times = []
            for _ in range(30):
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                product(a, b)
                end.record()
                torch.cuda.synchronize()
                times.append(start.elapsed_time(end) * 1e-3)
            seconds = sorted(times[5:])[len(times[5:]) // 2]
            results.append({"type": name, "rows": count, "size": size, "us": seconds * 1e6,
                            "tmac_s": count * size * size / seconds * 1e-12})
    return results


def markdown(results: dict) -> str:
    """The page: the card, its limits, a line for every layer and batch."""
    lines = [f"### {results['card']} (compute capability {results['compute_capability'] / 10:.1f}, driver {results['driver']})", "",
             f"Limits measured in the same run: copies {results['copy_gb_s']:.0f} GB/s, products of bits "
             f"{results['bit_tmac_s']:.1f} TMAC/s, of bytes {results['byte_tmac_s']:.1f} TMAC/s.", "",
             "| layer | rows | kernel | us | TMAC/s | of its products' limit |", "| --- | ---: | --- | ---: | ---: | ---: |"]
    for layer in results["layers"]:
        lines.append(f"| {layer['layer']} | {layer['rows']} | `{layer['kernel']}` | {layer['us']:.1f} | {layer['tmac_s']:.2f} | "
                     f"{layer['product_share'] * 100:.0f} % |")
    for vendor in results.get("vendor", []):
        lines.append(f"| vendor's {vendor['type']} product, {vendor['size']} | {vendor['rows']} | torch | {vendor['us']:.1f} | "
                     f"{vendor['tmac_s']:.2f} | |")
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
    results["vendor"] = vendor_products()
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    options.markdown.write_text(markdown(results))
    print(options.markdown.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
