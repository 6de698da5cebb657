"""The two public doors of a router, opened and closed together."""

import asyncio
from collections.abc import Callable
from importlib.metadata import version

from common.rpc import RpcServer
from common.work_gate import WorkGate
from protos.dvd.v1 import inference_pb2_grpc
from router.api_key import ApiKey, KeyInterceptor
from router.front_door import FrontDoor
from router.grpc_api import SERVICE_NAME, InferenceServicer
from router.http_api import HttpApi
from router.http_server import HttpServer
from router.port import check_port_is_free


class Doors:
    """gRPC and HTTP in front of one pipeline.

    Attributes:
        grpc_address: `host:port`, once open.
        http_address: Likewise.
    """

    def __init__(
        self, front: FrontDoor, api_key: str, drain_seconds: float, is_ready: Callable[[], bool]
    ) -> None:
        """Prepare without listening.

        Args:
            front: Answers.
            api_key: That callers must show; empty for none.
            drain_seconds: Time that running answers get when the doors close.
            is_ready: Whether a replica of each role takes work.
        """
        self.grpc_address = self.http_address = ""
        self._config = front.config
        self._drain_seconds = drain_seconds
        key = ApiKey(api_key, front.count_unauthenticated)
        self._rpc = RpcServer(
            front.config.max_request_bytes,
            work=WorkGate(begins={"Generate"}),
            shares_port=True,
            interceptors=(KeyInterceptor(key),),
        )
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(front), self._rpc.server
        )
        api = HttpApi(front, key, is_ready, version("dvd-serving"))
        self._http = HttpServer(api.app, drain_seconds)

    async def open(self, takes_over: bool) -> None:
        """Listen.

        Args:
            takes_over: Whether a router of ours that is about to stop may listen there too.

        Raises:
            ConfigError: An address is taken or not ours.
        """
        host, http_port = self._config.host, self._config.own_http_port
        if not takes_over:
            for port in (self._config.grpc_port, http_port):
                check_port_is_free(host, port)
        grpc_port = await self._rpc.start(f"{host}:{self._config.grpc_port}", [SERVICE_NAME])
        self.grpc_address = f"{host}:{grpc_port}"
        self.http_address = f"{host}:{await self._http.start(host, http_port)}"

    async def close(self) -> None:
        """Take nothing new, and let what runs end in the drain time."""
        await asyncio.gather(
            self._rpc.stop(self._drain_seconds, sends_away=True), self._http.stop()
        )
