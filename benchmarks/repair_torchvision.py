"""Make a torchvision import whose operators were built for another torch.

    python benchmarks/repair_torchvision.py build/vllm

The wheel on the usual index is a CUDA build: beside a CPU torch its library does not load, and
`import torchvision` fails where it registers shapes for operators that are not there. vLLM's
InternVL needs its transforms alone, which are plain torch. So registrations become conditional,
in the environment's own copy; one that imports is left as it is.
"""

import subprocess
import sys
from pathlib import Path

REGISTER = "@torch.library.register_fake("
GUARDED = "@_register_where_built("
AFTER = "import torchvision.extension"
GUARD = '''

def _register_where_built(name):
    """Register nothing for operators that are not there."""
    if torchvision.extension._has_ops():
        return torch.library.register_fake(name)
    return lambda function: function

'''


def imports(python: Path) -> bool:
    """Whether an environment can import torchvision."""
    return subprocess.run([python, "-c", "import torchvision"], capture_output=True).returncode == 0  # noqa: PLW1510


def guarded(source: str) -> str:
    """The module with its registrations made conditional.

    Raises:
        ValueError: It is not as expected.
    """
    if REGISTER not in source or AFTER not in source:
        raise ValueError("This torchvision registers its operators in another way.")
    head, _, rest = source.partition(AFTER)
    line, _, rest = rest.partition("\n")
    return head + AFTER + line + GUARD + rest.replace(REGISTER, GUARDED)


def main() -> None:
    """Repair an environment where it needs it."""
    environment = Path(sys.argv[1])
    python = environment / "bin/python"
    if imports(python):
        return
    (module,) = environment.glob("lib/python*/site-packages/torchvision/_meta_registrations.py")
    module.write_text(guarded(module.read_text(encoding="utf-8")), encoding="utf-8")
    if not imports(python):
        sys.exit("torchvision does not import even so.")


if __name__ == "__main__":
    main()
