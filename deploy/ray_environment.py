"""What Ray reads from the environment, set before it is imported: it reads it only then."""

import os
import secrets

from deploy.config import RayConfig


def prepare_ray(config: RayConfig) -> None:
    """Set how Ray authenticates, ranks and logs, here and for children; call before it is imported.

    On this machine alone Ray uses a token that nobody else learns; an existing cluster's token is
    taken from the places that Ray documents.
    """
    os.environ["RAY_AUTH_MODE"] = config.auth_mode
    # Ray would run replicas behind every other process of the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Every line that a replica logs names it, is whole, and may be JSON: Ray is to add nothing to
    # it, and to leave none out because another replica has said nearly the same.
    os.environ.setdefault("RAY_DISABLE_WORKER_LOG_PREFIX", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if config.auth_mode == "token" and config.address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
