"""Devices: the boards that artifacts are measured on, over SSH, and this machine.

with Session(find_device("pi@192.168.1.20")) as session:
    session.machine["model"]               # 'Raspberry Pi 5 Model B Rev 1.0'
"""

from edgefer.device.registry import find_device
from edgefer.device.session import Session
from edgefer.device.target import Device

__all__ = ["Device", "Session", "find_device"]
