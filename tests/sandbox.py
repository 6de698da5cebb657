"""A shell whose processes, network and temporary files are its own.

For commands that use fixed ports or end processes by name: they find nobody else's, and all that
they leave ends with the shell.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNSHARE = [
    "unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--fork", "--mount-proc",
]  # fmt: skip
# Nothing runs where the shell is not alone. A folder below /tmp is taken along into the new one.
PREPARE = """
set -euo pipefail
test $$ = 1
mount -t tmpfs tmpfs /mnt
if [[ $PWD == /tmp/* ]]; then
    mkdir -p "/mnt/${PWD#/tmp/}"
    mount --bind "$PWD" "/mnt/${PWD#/tmp/}"
fi
mount --rbind /mnt /tmp
cd "$PWD"
ip link set lo up
"""


def run_isolated(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in bash; skip the test where this machine gives no namespaces.

    Args:
        script: It ends at the first command that fails.
        folder: Where it starts; all else below /tmp is gone for it.
    """
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("there is no unshare or no ip")
    if _run(PREPARE, folder).returncode:
        pytest.skip("this machine gives no namespaces to users")
    return _run(PREPARE + script, folder)


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [*UNSHARE, "bash", "-c", script],
        capture_output=True, text=True, check=False, cwd=folder, env=environ,
    )  # fmt: skip
