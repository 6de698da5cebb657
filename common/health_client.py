"""Ask a gRPC server whether it can do its work."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.rpc import call


async def is_serving(channel: grpc.aio.Channel, timeout_seconds: float) -> bool:
    """Ask the standard health service about the whole server.

    Raises:
        DvdError: It gave no answer.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    response = await call(stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds))
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)
