"""What the name of a container image must be: of one version, forever the same."""


def is_pinned(image: str) -> bool:
    """Whether a name has a digest, or a tag that is not `latest`."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return bool(digest) or tag not in ("", "latest")
