"""An emulated ARM64 board on this machine, for projects whose CI has no board.

    from edgefer import board

    pi5 = board.up("cortex-a76")       # a Debian arm64 userland under QEMU, with an SSH server of its own
    pi5.temperature_file.write_text("84000")
    board.down(pi5.name)

It answers to SSH, has Python with LiteRT and ONNX Runtime, and computes what an ARM core computes, bit for bit.  Its
milliseconds mean nothing; how many instructions a program takes does (`edgefer.board.instructions`).
"""

from edgefer.board.boards import Board, boards
from edgefer.board.cpus import CPUS
from edgefer.board.running import down, up

__all__ = ["CPUS", "Board", "boards", "down", "up"]
