"""A copy of the repository's manifests, in which a mistake can be planted."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[3]
COPIED = ("docker", "configs", "kubernetes", "ray", "prometheus", "grafana")


class Tree:
    """Stands in for the repository.

    Attributes:
        root: Where it is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "deploy").mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in ("deploy", ".dockerignore"):
                (root / entry.name).symlink_to(entry)
        shutil.copy(ROOT / ".dockerignore", root)
        for entry in (ROOT / "deploy").iterdir():
            target = root / "deploy" / entry.name
            if entry.name in COPIED:
                shutil.copytree(entry, target)
            else:
                target.symlink_to(entry)

    def plant(self, file: str, right: str, wrong: str) -> None:
        """Put a mistake in place of what is right."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert right in text, f"{file} has no {right!r}"
        path.write_text(text.replace(right, wrong), encoding="utf-8")
