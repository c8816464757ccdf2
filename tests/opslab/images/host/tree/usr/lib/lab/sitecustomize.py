"""Firmware tables are unreadable in a container; cloud-init reads them to know that this is EC2.

Without them it speaks version 1 of the metadata service, which the lab refuses. Seen by no
program but cloud-init: PYTHONPATH is set in drop-ins of its units.
"""

import sys

FIRMWARE = {
    "system-uuid": "ec2abcde-0000-4000-8000-000000000001",
    "system-serial-number": "ec2abcde-0000-4000-8000-000000000001",
    "system-manufacturer": "Amazon EC2",
    "chassis-asset-tag": "Amazon EC2",
    "system-product-name": "t3.medium",
}

if any("cloud-init" in argument for argument in getattr(sys, "orig_argv", [])):
    try:
        import cloudinit.dmi

        cloudinit.dmi.read_dmi_data = FIRMWARE.get
    except ImportError as error:
        print(f"lab: firmware table not replaced: {error}", file=sys.stderr)
