"""The gate of machine code: planted kernels that it must refuse, and what it reads of the tools' text."""
from __future__ import annotations

import collections
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/cuda"))
import machine_code  # noqa: E402

# A product of bits whose form Hopper only emulates, in a kernel that says it is a tile of bits.
XOR = r"""
extern "C" __global__ void bm_tile_bits_planted(int* c, const unsigned* a) {
  int sum[4] = {0, 0, 0, 0};
  asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.FORM.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(a[4]), "r"(a[5]));
  for (int i = 0; i < 4; ++i) c[threadIdx.x * 4 + i] = sum[i];
}
"""
# More accumulators than its registers hold, next to the product that a tile of codes must have.
SPILLING = r"""
extern "C" __global__ void __launch_bounds__(1024, 2) bm_tile_codes_planted(int* c, const unsigned* a, int n) {
  int sum[24][4] = {};
  for (int i = 0; i < n; ++i) {
#pragma unroll
    for (int t = 0; t < 24; ++t) {
      asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+r"(sum[t][0]), "+r"(sum[t][1]), "+r"(sum[t][2]), "+r"(sum[t][3])
          : "r"(a[i]), "r"(a[i + 1]), "r"(a[i + 2]), "r"(a[i + 3]), "r"(a[i + 4 + t]), "r"(a[i + 5 + t]));
    }
  }
#pragma unroll
  for (int t = 0; t < 24; ++t) {
    for (int i = 0; i < 4; ++i) c[(threadIdx.x * 24 + t) * 4 + i] = sum[t][i];
  }
}
"""
# Says it is a tile of bits, and counts them one word after the other.
NO_TENSOR = r"""
extern "C" __global__ void bm_tile_bits_planted(int* c, const unsigned* a) {
  c[threadIdx.x] = __popc(a[threadIdx.x] & a[threadIdx.x + 32]);
}
"""
# Two products of four warps at once; CHANGE is what happens to the sums between them.
GROUP = r"""
#define PRODUCT(form) asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned." form \
      " {%0,%1,%2,%3}, %4, %5, p;\n}" : "+r"(s0), "+r"(s1), "+r"(s2), "+r"(s3) : "l"(a), "l"(b))
extern "C" __global__ void bm_group_bits_planted(int* c, unsigned long a, unsigned long b) {
  int s0 = c[0], s1 = c[1], s2 = c[2], s3 = c[3];
  asm volatile("" : "+r"(s0), "+r"(s1), "+r"(s2), "+r"(s3));
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  PRODUCT("m64n8k256.s32.b1.b1.and.popc");
  CHANGE
  PRODUCT("m64n8k256.s32.b1.b1.and.popc");
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  asm volatile("" : "+r"(s0), "+r"(s1), "+r"(s2), "+r"(s3));
  c[threadIdx.x] = s0 + s1 + s2 + s3;
}
"""
# Says that it is for few rows of codes, and multiplies byte after byte.
NO_DOT = r"""
extern "C" __global__ void bm_few_codes_planted(int* c, const unsigned char* a, const signed char* b) {
  c[threadIdx.x] = a[threadIdx.x] * b[threadIdx.x];
}
"""


def compile_planted(source: str, architecture: str) -> list[machine_code.Kernel]:
    """The kernels of `source` as machine_code reads them."""
    bin_folder = Path(machine_code.find_tool("nvcc", None)).parent
    tools = (machine_code.find_tool("cuobjdump", None), machine_code.find_tool("nvdisasm", None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.cu"
        path.write_text(source)
        cubin = Path(folder) / f"planted.{architecture}.cubin"
        subprocess.run([bin_folder / "nvcc", "-cubin", f"-gencode=arch={architecture.replace('sm', 'compute')},code={architecture}",
                        "-o", cubin, path], check=True)
        return machine_code.read_images([str(cubin)], tools)


def refused(source: str, architecture: str) -> str:
    """The findings about a planted kernel, as one text."""
    return "\n".join(machine_code.findings(compile_planted(source, architecture), (architecture,)))


def have_compiler() -> bool:
    try:
        machine_code.find_tool("nvcc", None)
        return True
    except FileNotFoundError:
        return False


@unittest.skipUnless(have_compiler() or "BITMILL_REQUIRE_CUDA" in os.environ, "no nvcc: script/setup --check installs it")
class PlantedKernels(unittest.TestCase):
    def test_a_product_that_hopper_emulates_is_refused(self) -> None:
        self.assertIn("only emulates", refused(XOR.replace("FORM", "xor"), "sm_90a"))

    def test_the_form_that_hopper_has_is_not(self) -> None:
        self.assertEqual("", refused(XOR.replace("FORM", "and"), "sm_90a"))

    def test_bits_on_blackwell_are_refused(self) -> None:
        text = refused(XOR.replace("FORM", "and"), "sm_120a")
        self.assertIn("only emulates", text)

    def test_a_kernel_that_spills_is_refused(self) -> None:
        self.assertIn("local memory", refused(SPILLING, "sm_80"))

    def test_a_kernel_without_its_tensor_instruction_is_refused(self) -> None:
        self.assertIn("no BMMA", refused(NO_TENSOR, "sm_80"))

    def test_products_of_groups_run_side_by_side(self) -> None:
        self.assertEqual("", refused(GROUP.replace("CHANGE", ""), "sm_90a"))

    def test_products_of_groups_that_wait_for_one_another_are_refused(self) -> None:
        text = refused(GROUP.replace("CHANGE", "s0 ^= c[4]; s1 ^= c[5]; s2 ^= c[6]; s3 ^= c[7];"), "sm_90a")
        self.assertIn("waits for each of its products", text)

    def test_a_kernel_of_groups_by_the_products_of_a_warp_is_refused(self) -> None:
        source = XOR.replace("FORM", "and").replace("bm_tile_bits", "bm_group_bits")
        self.assertIn("no BGMMA", refused(source, "sm_90a"))

    def test_a_kernel_for_few_rows_without_its_instruction_is_refused(self) -> None:
        self.assertIn("no IDP", refused(NO_DOT, "sm_80"))


class Findings(unittest.TestCase):
    def kernel(self, name: str, architecture: str = "sm_80", **changes: object) -> machine_code.Kernel:
        kernel = machine_code.Kernel(architecture, name, registers=32)
        kernel.opcodes = collections.Counter({"BMMA": 4, "IMMA": 4})
        for key, value in changes.items():
            setattr(kernel, key, value)
        return kernel

    def test_a_missing_architecture_is_named(self) -> None:
        found = machine_code.findings([self.kernel("bm_tile_bits_32")], ("sm_80", "sm_90a"))
        self.assertEqual(found, ["there is no machine code for sm_90a"])

    def test_a_kernel_that_one_architecture_lacks_is_named(self) -> None:
        kernels = [self.kernel("bm_unpack"), self.kernel("bm_strided"), self.kernel("bm_unpack", "sm_90a")]
        self.assertEqual(machine_code.findings(kernels, ("sm_80", "sm_90a")), ["sm_90a lacks bm_strided"])

    def test_division_may_be_called_and_nothing_else(self) -> None:
        division = self.kernel("bm_strided", calls=["$__internal_0_$__cuda_sm3x_div_rn_noftz_f32_slowpath"])
        other = self.kernel("bm_strided", calls=["$__internal_3_$__cuda_sm_9x_mma_xor_popc"])
        self.assertEqual(machine_code.findings([division], ("sm_80",)), [])
        self.assertEqual(len(machine_code.findings([other], ("sm_80",))), 1)

    def test_groups_are_for_hopper_alone(self) -> None:
        empty = self.kernel("bm_group_codes_128x64", opcodes=collections.Counter({"BPT": 1}))
        self.assertEqual(machine_code.findings([empty], ("sm_80",)), [])
        self.assertEqual(len(machine_code.findings([self.kernel("bm_group_codes_128x64")], ("sm_80",))), 1)

    def test_nothing_at_all_is_a_finding(self) -> None:
        self.assertEqual(machine_code.findings([], ("sm_80",)), ["there is no machine code for sm_80"])


class ReadingText(unittest.TestCase):
    def test_code_is_counted_by_opcode(self) -> None:
        text = "\n".join([
            '\t.section\t.text.bm_a,"ax",@progbits',
            "        /*0000*/                   LDC R1, c[0x0][0x28] ;",
            "        /*0010*/              @!P0 IMMA.16832.U8.S8 R8, R4.ROW, R2.COL, R8 ;",
            "        /*0020*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm3x_div_rn) ;",
        ])
        opcodes, calls = machine_code.parse_code(text)["bm_a"]
        self.assertEqual((opcodes["LDC"], opcodes["IMMA"], opcodes["CALL"]), (1, 1, 1))
        self.assertEqual(calls, ["$__internal_0_$__cuda_sm3x_div_rn"])

    def test_usage_is_read(self) -> None:
        text = " Function bm_a:\n  REG:32 STACK:8 SHARED:0 LOCAL:0 CONSTANT[0]:384 TEXTURE:0 SURFACE:0 SAMPLER:0\n"
        self.assertEqual(machine_code.parse_usage(text)["bm_a"]["STACK"], 8)


if __name__ == "__main__":
    unittest.main()
