#!/usr/bin/env python3
"""What a compiler made of CUDA kernels: reads the machine code of a fat binary or of cubins and refuses slow code.

    machine_code.py IMAGE... [--tools DIR]

DIR holds cuobjdump and nvdisasm (default: PATH, the toolkit's folder, .cache/cuda). For every kernel and architecture a
line says registers, shared and local memory and how many instructions of each kind there are. Findings are
  - a tile kernel without its tensor instruction (BMMA, IMMA; of a whole group of warps BGMMA, IGMMA), or with one in an
    architecture that only emulates it, and a kernel for few rows that neither counts (POPC) nor adds four products (IDP);
  - products of groups that the compiler lets wait for one another: it begins each of them anew (WARPGROUP.ARRIVE);
  - a call of anything but the compiler's division and square root: emulated instructions are such calls;
  - local memory (spilled registers, arrays that are not in registers) in a hot kernel;
  - an architecture or kernel that is missing.
Exit code 0: none, 1: findings, 2: misuse or a tool that fails.
"""
from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a")
# Kernels whose time is the model's: no local memory. bm_conv_codes keeps 8 codes in an array that it indexes.
HOT = re.compile(r"bm_tile_|bm_group_|bm_few_|bm_ceiling_|bm_count_|bm_conv_bits$|bm_conv_float$|bm_pool_|bm_quantize_plain$")
PRODUCT = re.compile(r"bm_(tile|ceiling_group|count_group|ceiling|group|few|count)_(bits|ternary|spread|codes|bytes|words|carries|products)")
TENSOR = ("BMMA", "IMMA", "HMMA", "BGMMA", "IGMMA")
# Correctly rounded division and square root, and the functions of chains: rare ways of rare operations.
# A label inside of the kernel is a jump, in the way of older chips.
MATH = re.compile(r"div_|_div|rcp|sqrt|_pow|trig|rem_|^\.L_x_\d+$")
SHOWN = ("BMMA", "IMMA", "BGMMA", "IGMMA", "IDP", "POPC", "LDGSTS", "LDS", "LDL", "STL", "CALL")


@dataclasses.dataclass
class Kernel:
    """One kernel for one architecture."""
    architecture: str
    name: str
    registers: int = 0
    stack: int = 0
    shared: int = 0
    opcodes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    calls: list[str] = dataclasses.field(default_factory=list)


def expected_opcode(name: str, architecture: str) -> str | None:
    """The instruction that a kernel must have: None for no tensor instruction at all, "" when it does not matter."""
    kind = PRODUCT.match(name)
    if not kind:
        return ""
    by_bytes = kind[2] in ("spread", "codes", "bytes")
    if kind[1] == "few" or kind[2] in ("words", "carries"):
        return "IDP" if by_bytes else "POPC"
    if "group" in kind[1]:
        return ("IGMMA" if by_bytes else "BGMMA") if architecture == "sm_90a" else None
    has_bits = int(re.sub(r"\D", "", architecture)) < 100
    if by_bytes or (kind[2] == "products" and not has_bits):
        return "IMMA"
    return "BMMA" if has_bits else None


def parse_usage(text: str) -> dict[str, dict[str, int]]:
    """Registers and memory of every function in what `cuobjdump -res-usage` prints."""
    usage = {}
    for name, values in re.findall(r"Function (\S+):\n\s*(REG:.*)", text):
        usage[name] = {key: int(value) for key, value in re.findall(r"(\w+)(?:\[0\])?:(\d+)", values)}
    return usage


def parse_code(text: str) -> dict[str, tuple[collections.Counter, list[str]]]:
    """Instructions and call targets of every kernel in what `nvdisasm -c` prints; an opcode is its first word, and
    WARPGROUP.ARRIVE one of its own."""
    kernels: dict[str, tuple[collections.Counter, list[str]]] = {}
    current = None
    for line in text.splitlines():
        section = re.match(r"\s*\.section\s+\.text\.([\w$]+)", line)
        if section:
            current = kernels.setdefault(section[1], (collections.Counter(), []))
            continue
        found = re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)", line)
        if current is None or not found:
            continue
        opcode = found[1] if found[1] == "WARPGROUP.ARRIVE" else found[1].split(".")[0]
        current[0][opcode] += 1
        if opcode in ("CALL", "JCAL"):
            target = re.search(r"`\(([^)]+)\)", found[2])
            current[1].append(target[1] if target else found[1] + found[2].strip())
    return kernels


def findings(kernels: list[Kernel], architectures: tuple[str, ...] = ARCHITECTURES) -> list[str]:
    """What is wrong, a line each."""
    found = []
    by_architecture = collections.defaultdict(set)
    for kernel in kernels:
        by_architecture[kernel.architecture].add(kernel.name)
        where = f"{kernel.name} for {kernel.architecture}"
        for target in kernel.calls:
            if not MATH.search(target):
                found.append(f"{where} calls {target}: an instruction that this chip only emulates?")
        if HOT.match(kernel.name):
            local = kernel.opcodes["LDL"] + kernel.opcodes["STL"]
            if kernel.stack > 0 or local > 0:
                found.append(f"{where} uses local memory: {kernel.stack} bytes of stack, {local} accesses")
        wanted = expected_opcode(kernel.name, kernel.architecture)
        if wanted and kernel.opcodes[wanted] == 0:
            found.append(f"{where} has no {wanted}: it does not run on " +
                         ("tensor cores" if wanted in TENSOR else "the units that it is for"))
        if wanted is None and any(kernel.opcodes[o] for o in TENSOR):
            found.append(f"{where} multiplies bits, which this chip only emulates")
        products = kernel.opcodes["BGMMA"] + kernel.opcodes["IGMMA"]
        if products > 1 and kernel.opcodes["WARPGROUP.ARRIVE"] >= products:
            found.append(f"{where} waits for each of its products before the next")
    every = set().union(*by_architecture.values()) if by_architecture else set()
    for architecture in architectures:
        if architecture not in by_architecture:
            found.append(f"there is no machine code for {architecture}")
        elif missing := every - by_architecture[architecture]:
            found.append(f"{architecture} lacks {', '.join(sorted(missing))}")
    return found


def find_tool(name: str, folder: str | None) -> str:
    """The path of cuobjdump or nvdisasm."""
    root = Path(__file__).resolve().parents[2]
    places = [folder, os.environ.get("BITMILL_NVCC"), os.path.join(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin"),
              str(root / ".cache/cuda/nvidia/cu13/bin")]
    places = [folder] if folder else places + os.environ.get("PATH", "").split(os.pathsep)
    path = shutil.which(name, path=os.pathsep.join(p for p in places if p))
    if not path:
        raise FileNotFoundError(f"{name} was not found: script/setup --check installs it, --tools names its folder")
    return path


def run(*command: str, cwd: str | None = None) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def read_cubin(path: Path, architecture: str, tools: tuple[str, str]) -> list[Kernel]:
    """The kernels of one cubin."""
    cuobjdump, nvdisasm = tools
    usage = parse_usage(run(cuobjdump, "-res-usage", str(path)))
    kernels = []
    for name, (opcodes, calls) in sorted(parse_code(run(nvdisasm, "-c", str(path))).items()):
        memory = usage.get(name, {})
        kernels.append(Kernel(architecture, name, memory.get("REG", 0), memory.get("STACK", 0) + memory.get("LOCAL", 0),
                              memory.get("SHARED", 0), opcodes, calls))
    return kernels


def read_images(images: list[str], tools: tuple[str, str]) -> list[Kernel]:
    """The kernels of fat binaries and cubins, which are named ...sm_NN.cubin."""
    kernels = []
    with tempfile.TemporaryDirectory() as folder:
        for image in images:
            path = Path(image).resolve()
            cubins = [path]
            if path.suffix != ".cubin":
                work = Path(folder) / str(len(kernels))
                work.mkdir()
                run(tools[0], "-xelf", "all", str(path), cwd=str(work))
                cubins = sorted(work.glob("*.cubin"))
            for cubin in cubins:
                architecture = re.search(r"sm_\w+?(?=\.)", cubin.name)
                if not architecture:
                    raise RuntimeError(f"{cubin.name} does not name its architecture")
                kernels += read_cubin(cubin, architecture[0], tools)
    return kernels


def table(kernels: list[Kernel]) -> str:
    """A line for every kernel and architecture."""
    lines = [f"{'kernel':24} {'code':8} {'regs':>4} {'stack':>5} " + " ".join(f"{o:>6}" for o in SHOWN) + f" {'all':>6}"]
    for k in sorted(kernels, key=lambda k: (k.name, int(re.sub(r"\D", "", k.architecture)))):
        lines.append(f"{k.name:24} {k.architecture:8} {k.registers:4} {k.stack:5} " +
                     " ".join(f"{k.opcodes[o]:6}" for o in SHOWN) + f" {k.opcodes.total():6}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--tools", metavar="DIR")
    options = parser.parse_args(argv)
    try:
        tools = (find_tool("cuobjdump", options.tools), find_tool("nvdisasm", options.tools))
        kernels = read_images(options.images, tools)
    except (OSError, RuntimeError) as error:
        print(f"machine_code: {error}", file=sys.stderr)
        return 2
    print(table(kernels))
    found = findings(kernels)
    for line in found:
        print(line)
    print(f"machine_code: {len(kernels)} kernels, {len(found)} finding(s)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
