"""The processors that an emulated board can have, and what such a board says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CORES = 4
TEMPERATURE_MILLICELSIUS = 48_312
MIN_CLOCK_KHZ = 600_000

# Where a board keeps what it says of itself, under its root; plain files that a test may edit.
CPUINFO = Path("etc/board/cpuinfo")
THROTTLED = Path("etc/board/throttled")
TEMPERATURE = Path("sys/class/thermal/thermal_zone0/temp")
CPU_DIRECTORY = Path("sys/devices/system/cpu")


@dataclass(frozen=True)
class Cpu:
    """A processor, and the board that it is known from.

    Attributes:
        part: its number in the Main ID Register.
        model: the board's name in its device tree.
        features: what the kernel lists in /proc/cpuinfo.
        clock_khz: its highest clock.
    """

    part: int
    model: str
    features: str
    clock_khz: int


CPUS: Mapping[str, Cpu] = {
    "cortex-a72": Cpu(0xD08, "Raspberry Pi 4 Model B Rev 1.4", "fp asimd evtstrm crc32 cpuid", 1_500_000),
    "cortex-a76": Cpu(
        0xD0B,
        "Raspberry Pi 5 Model B Rev 1.0",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        2_400_000,
    ),
}


def facts(cpu: Cpu) -> dict[Path, str]:
    """Contents of the files, by path under the board's root, in which a cool and idle board tells its state."""
    cores = range(CORES)
    everywhere = f"0-{CORES - 1}\n"
    files = {
        CPUINFO: "".join(_core(core, cpu) for core in cores) + f"Model\t\t: {cpu.model}\n",
        THROTTLED: "0x0\n",
        TEMPERATURE: f"{TEMPERATURE_MILLICELSIUS}\n",
        TEMPERATURE.with_name("type"): "cpu-thermal\n",
        Path("sys/firmware/devicetree/base/model"): f"{cpu.model}\0",
        **{CPU_DIRECTORY / name: everywhere for name in ("possible", "present", "online")},
    }
    for core in cores:
        scaling = CPU_DIRECTORY / f"cpu{core}" / "cpufreq"
        files |= {
            scaling / name: f"{cpu.clock_khz}\n"
            for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
        }
        files |= {scaling / "scaling_min_freq": f"{MIN_CLOCK_KHZ}\n", scaling / "scaling_governor": "ondemand\n"}
    return files


def _core(number: int, cpu: Cpu) -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {cpu.part:#05x}\nCPU revision\t: 3\n\n"
    )
