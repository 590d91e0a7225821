"""The plugin's classification against encodings that an assembler made (disassembled by Capstone)."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgefer.board.instructions import CLASSES
from edgefer.board.userland import DATA

ENCODINGS = {
    "int8_dot": {
        0x4F80E0D8: "sdot v24.4s, v6.16b, v0.4b[0]",
        0x6E80973A: "udot v26.4s, v25.16b, v0.16b",
        0x4E809F9D: "usdot v29.4s, v28.16b, v0.16b",
        0x4E85A536: "smmla v22.4s, v9.16b, v5.16b",
    },
    "int_multiply": {
        0x4EB89412: "mla v18.4s, v0.4s, v24.4s",
        0x0EFAE3BD: "pmull v29.1q, v29.1d, v26.1d",
        0x4F9020D3: "smlal2 v19.2d, v6.4s, v16.s[0]",
        0x2F422812: "umlal v18.4s, v0.4h, v2.h[4]",
        0x6E68B448: "sqrdmulh v8.8h, v2.8h, v8.8h",
        0x4E70B650: "sqdmulh v16.8h, v18.8h, v16.8h",
    },
    "int_vector": {
        0x4EF68421: "add v1.2d, v1.2d, v22.2d",
        0x4E281C31: "and v17.16b, v1.16b, v8.16b",
        0x4F000410: "movi v16.4s, #0",
        0x4E080D74: "dup v20.2d, x11",
        0x6E004000: "ext v0.16b, v0.16b, v0.16b, #8",
        0x4E1021D4: "tbl v20.16b, {v14.16b, v15.16b}, v16.16b",
        0x4E413804: "zip1 v4.8h, v0.8h, v1.8h",
        0x0E214800: "sqxtn v0.8b, v0.8h",
        0x4E606420: "smax v0.8h, v1.8h, v0.8h",
        0x4E606803: "sadalp v3.4s, v0.8h",
        0x0F20A400: "sshll v0.2d, v0.2s, #0",
        0x0E013C02: "umov w2, v0.b[0]",
    },
    "float_vector": {
        0x4F801045: "fmla v5.4s, v2.4s, v0.s[0]",
        0x6E591F18: "fmul v24.8h, v24.8h, v25.8h",
        0x4E403610: "fmax v16.8h, v16.8h, v0.8h",
        0x4EA0C844: "fcmgt v4.4s, v2.4s, #0.0",
        0x0E217802: "fcvtl v2.4s, v0.4h",
        0x0E21691D: "fcvtn v29.4h, v8.4s",
        0x4E21D800: "scvtf v0.4s, v0.4s",
        0x4EA1B800: "fcvtzs v0.4s, v0.4s",
        0x4E218800: "frintn v0.4s, v0.4s",
        0x6E2AFD29: "fdiv v9.4s, v9.4s, v10.4s",
        0x6E20D404: "faddp v4.4s, v0.4s, v0.4s",
        0x6E30F800: "fmaxv s0, v0.4s",
        0x6E44ED10: "bfmmla v16.4s, v8.8h, v4.8h",
        0x6EA0F800: "fneg v0.4s, v0.4s",
    },
    "float_scalar": {
        0x1E282800: "fadd s0, s0, s8",
        0x1F000820: "fmadd s0, s1, s0, s2",
        0x1E302020: "fcmp s1, s16",
        0x1E18C408: "fcvtzs w8, s0, #0xf",
        0x9E660004: "fmov x4, d0",
        0x1E3E1003: "fmov s3, #-1.0",
    },
    "load": {
        0xF9400008: "ldr x8, [x0]",
        0x3DC00100: "ldr q0, [x8]",
        0xB9800154: "ldrsw x20, [x10]",
        0xA9400296: "ldp x22, x0, [x20]",
        0xAD400520: "ldp q0, q1, [x9]",
        0x4C402130: "ld1 {v16.16b, v17.16b, v18.16b, v19.16b}, [x9]",
        0x0D40C141: "ld1r {v1.8b}, [x10]",
        0xB85003A9: "ldur w9, [x29, #-0x100]",
        0x885FFC20: "ldaxr w0, [x1]",
        0xB8200020: "ldadd w0, w0, [x1]",
        0x88DFFC08: "ldar w8, [x0]",
    },
    "store": {
        0xB9000009: "str w9, [x0]",
        0x3D800120: "str q0, [x9]",
        0xA9000660: "stp x0, x1, [x19]",
        0x4C0029D0: "st1 {v16.4s, v17.4s, v18.4s, v19.4s}, [x14]",
        0x880FFC31: "stlxr w15, w17, [x1]",
        0x3900001F: "strb wzr, [x0]",
    },
    "integer": {
        0x8B08000B: "add x11, x0, x8",
        0x1B101C70: "madd w16, w3, w16, w7",
        0x9B287C4B: "smull x11, w2, w8",
        0xF0001201: "adrp x1, #0x243000",
        0x1A9F17E5: "cset w5, eq",
        0x9AC82128: "lsl x8, x9, x8",
    },
    "branch": {
        0x54000081: "b.ne #0x10",
        0x94000010: "bl #0x40",
        0xD65F03C0: "ret",
        0xB4000040: "cbz x0, #8",
        0x37080068: "tbnz w8, #1, #0xc",
        0xD61F01A0: "br x13",
    },
    "other": {
        0xD503201F: "nop",
        0xD53B4409: "mrs x9, fpcr",
        0xD50339BF: "dmb ishld",
        0xF98001A0: "prfm pldl1keep, [x13]",
        0x04A00000: "add z0.s, z0.s, z0.s",
    },
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("plugin") / "insn.so"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, DATA / "insn.c"], check=True)
    return ctypes.CDLL(str(library), mode=os.RTLD_LAZY)  # its callers in QEMU are not here


@pytest.mark.parametrize("expected", ENCODINGS)
def test_instructions_are_counted_in_the_class_that_their_encoding_says(plugin, expected):
    classify = plugin.classify
    classify.argtypes = [ctypes.c_uint32]
    wrong = {text: classify(word) for word, text in ENCODINGS[expected].items() if names()[classify(word)] != expected}
    assert not wrong


def test_the_plugin_and_the_parser_know_the_same_classes():
    assert names() == list(CLASSES) == list(ENCODINGS)


def names():
    """The classes as the plugin's source names them, in its order."""
    source = Path(DATA / "insn.c").read_text("ascii")
    listed = source.partition("names[CLASSES] = {")[2].partition("}")[0]
    return [name.strip().strip('"') for name in listed.split(",")]
