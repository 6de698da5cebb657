"""Every manifest is right as it is shipped; what `make check` runs says nothing."""

import pytest

from deploy.manifests.check import CONFIGS, ROOT, check_all, check_config
from tests.deploy.manifests.planted import Tree


def test_every_manifest_is_right() -> None:
    assert check_all(ROOT) == []


@pytest.mark.parametrize("file", sorted(each.name for each in (ROOT / CONFIGS).iterdir()))
def test_a_slip_in_a_configuration_is_found(tree: Tree, file: str) -> None:
    name = f"{CONFIGS}/{file}"
    assert check_config(tree.root, name) == []
    tree.plant(name, "inbox_bytes:", "inbox_byte:")
    (found,) = check_config(tree.root, name)
    assert "did you mean language.service.inbox_bytes" in found.message
