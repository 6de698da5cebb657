"""A supervisor with one idle replica of each role, for tests of router processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from common.model_files import fingerprint
from common.types import ReplicaRole
from deploy.roster import Roster
from protos.dvd.v1 import (
    language_pb2,
    language_pb2_grpc,
    replica_pb2,
    replica_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)
from tests.deploy.router_supervisor import IdleLanguage, IdleVision, NoticingServicer, Supervisor
from tests.loopback import serving


@pytest_asyncio.fixture
async def supervisor(flash_model_dir: Path) -> AsyncIterator[Supervisor]:
    roster = Roster()
    servicer = NoticingServicer(roster)
    served = fingerprint(flash_model_dir)
    who = replica_pb2.Replica(incarnation="first", fingerprint=served)
    info = replica_pb2.ServerInfo(replica=who)
    vision = IdleVision(
        vision_pb2.VisionServiceGetServerInfoResponse(info=info),
        vision_pb2.VisionServiceWatchLoadResponse(),
    )
    language = IdleLanguage(
        language_pb2.LanguageServiceGetServerInfoResponse(info=info),
        language_pb2.LanguageServiceWatchLoadResponse(),
    )
    async with (
        serving(vision_pb2_grpc.add_VisionServiceServicer_to_server, vision) as first,
        serving(language_pb2_grpc.add_LanguageServiceServicer_to_server, language) as second,
        serving(replica_pb2_grpc.add_RosterServiceServicer_to_server, servicer) as loopback,
    ):
        made = Supervisor(roster, servicer.followed, loopback.address, flash_model_dir)
        made.replicas = {ReplicaRole.VISION: first.address, ReplicaRole.LANGUAGE: second.address}
        yield made
