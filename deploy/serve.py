"""`dvd serve`: start everything, say where it is, and serve until told to stop."""

import logging

from deploy.config import DeployConfig
from deploy.signals import stop_on_signals
from deploy.supervisor import ClusterReady, Supervisor

log = logging.getLogger(__name__)


async def serve_until_told(settings: DeployConfig, api_key: str) -> None:
    """Serve one deployment until SIGTERM or SIGINT.

    Args:
        settings: Of the deployment.
        api_key: That callers must show; empty for none.

    Raises:
        StartupError: Something cannot start, or is lost for good.
    """
    supervisor = Supervisor(settings, api_key)
    try:
        ready = await supervisor.start()
        stopping = stop_on_signals()
        _tell(ready)
        await supervisor.run(stopping)
        log.info("stopping: draining for up to %g seconds", settings.drain_seconds)
    finally:
        await supervisor.stop()


def _tell(ready: ClusterReady) -> None:
    for replica in ready.replicas:
        log.info("%-12s %s metrics %s", replica.name, replica.address, replica.metrics_address)
    for router in ready.routers:
        log.info("%-12s %s metrics %s", "router", router.address, router.metrics_address)
    log.info("%-12s %s metrics %s", "supervisor", ready.control_address, ready.metrics_address)
    http = " ".join(f"http://{router.http_address}/v1" for router in ready.routers)
    log.info("OpenAI clients find it at %s", http)
    doors = " ".join(router.address for router in ready.routers)
    log.info("serving %s at %s", ready.model_name, doors)
