"""A tree to plant mistakes in."""

from pathlib import Path

import pytest

from tests.deploy.manifests.planted import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
