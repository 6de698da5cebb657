"""Ray's own authentication, set explicitly before Ray is imported: it reads the mode only then."""

import os
import secrets

from deploy.config import RayConfig


def prepare_ray(config: RayConfig) -> None:
    """Set Ray's authentication for this process and its children; call before Ray is imported.

    On this machine alone Ray uses a token that nobody else learns; an existing cluster's token is
    taken from the places that Ray documents.
    """
    os.environ["RAY_AUTH_MODE"] = config.auth_mode
    if config.auth_mode == "token" and config.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
