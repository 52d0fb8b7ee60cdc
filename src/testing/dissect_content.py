"""Prints size and SHA-256 of the guest bytes of an image as JSON, read by dissect.hypervisor.

    dissect_content.py qcow2|vmdk|raw FILE
    dissect_content.py --version
"""
import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

CHUNK = 4 << 20


def open_disk(kind: str, path: Path):
    if kind == "qcow2":
        from dissect.hypervisor.disk.qcow2 import QCow2

        disk = QCow2(path)
        return disk.open(), disk.size
    if kind == "vmdk":
        from dissect.hypervisor.disk.vmdk import VMDK

        disk = VMDK(path)
        return disk, disk.size
    if kind == "raw":
        return path.open("rb"), path.stat().st_size
    raise SystemExit(f"unknown format {kind}")


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        import dissect.hypervisor.disk.qcow2
        import dissect.hypervisor.disk.vmdk  # noqa: F401

        print(importlib.metadata.version("dissect.hypervisor"))
        return
    disk, size = open_disk(sys.argv[1], Path(sys.argv[2]))
    digest = hashlib.sha256()
    at = 0
    while at < size:
        data = disk.read(min(CHUNK, size - at))
        if not data:
            raise SystemExit(f"the disk ends at {at} of {size} bytes")
        digest.update(data)
        at += len(data)
    print(json.dumps({"size": size, "sha256": digest.hexdigest()}))


main()
