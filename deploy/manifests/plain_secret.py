"""Finds keys, passwords and tokens that a manifest holds in plain."""

import re
from collections.abc import Mapping

SECRET_NAME = re.compile(r"(KEY|PASSWORD|SECRET|TOKEN)$", re.IGNORECASE)


def plain_secrets(environment: Mapping[str, object]) -> list[str]:
    """Variables whose name is that of a secret and whose value is there to be read."""
    return [
        f"environment variable {name} is a secret in plain"
        for name, value in environment.items()
        if SECRET_NAME.search(name) and value
    ]
