"""Mistakes in a Dockerfile are found: by hadolint, or by what is known of this project."""

import pytest

from deploy.manifests.check import DOCKERFILE
from deploy.manifests.dockerfile import check_dockerfile
from tests.deploy.manifests.planted import Tree


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("USER 10001", "", "runs as root"),
        ("USER 10001", "USER root", "runs as root"),
        ("USER 10001", "USER dvd", "USER dvd is a name"),
        ("python:3.12.12-slim-bookworm", "python:latest", "python:latest is not of one version"),
        ("python:3.12.12-slim-bookworm", "python", "python is not of one version"),
        ("HEALTHCHECK", "LABEL", "no HEALTHCHECK"),
        ("COPY protos protos", "COPY protocols protos", "COPY protocols: there is no such file"),
        ("COPY training training", "COPY docs docs", "COPY docs: .dockerignore leaves it out"),
        ('ENTRYPOINT ["/usr/bin/tini", "--", "dvd"]', "ENTRYPOINT tini -- dvd", "DL3025"),
        ("WORKDIR /home/dvd", "WORKDIR home", "DL3000"),
    ],
)
def test_a_mistake_is_found(tree: Tree, right: str, wrong: str, words: str) -> None:
    tree.plant(DOCKERFILE, right, wrong)
    messages = [finding.message for finding in check_dockerfile(tree.root, DOCKERFILE)]
    assert any(words in message for message in messages), messages


def test_weights_do_not_get_into_the_image(tree: Tree) -> None:
    tree.plant(DOCKERFILE, "COPY training training", "COPY models models")
    tree.plant(".dockerignore", "!training", "!models")
    (found,) = check_dockerfile(tree.root, DOCKERFILE)
    assert found.message == "COPY models puts weights into the image"
