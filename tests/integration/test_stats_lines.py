"""The line that each process of a cluster would log."""

from pathlib import Path

from language_service.stats_line import LanguageStatsLine
from router.stats_line import RouterStatsLine
from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster, local_cluster
from tests.reference.conversation import user
from vision_service.stats_line import VisionStatsLine

SECONDS = 2.0
NUM_TOKENS = 8


async def ask(cluster: LocalCluster) -> None:
    request = wire_request((user(pictures.grid(2, 2, 7), "What is this?"),), NUM_TOKENS)
    request.sampling.ignore_eos = True
    await cluster.client.answer(request)
    await wait_until_idle(cluster)


async def test_every_role_says_what_it_has_done_and_is_silent_when_idle(
    flash_model_dir: Path,
) -> None:
    async with local_cluster(flash_model_dir) as cluster:
        router, vision, language = cluster.router, cluster.visions[0], cluster.languages[0]
        lines = (
            RouterStatsLine(router.metrics.door, router.admission),
            VisionStatsLine(vision.engine, vision.encoder),
            LanguageStatsLine(language.engine, language.inbox),
        )
        assert [line.next(SECONDS) for line in lines] == ["", "", ""]
        await ask(cluster)
        of_router, of_vision, of_language = (line.next(SECONDS) for line in lines)
        assert of_router.startswith(
            "running 0, load 0.0 %; answered 0.5 requests/s, 0.5 pictures/s, "
        )
        assert of_router.endswith(f"generated {NUM_TOKENS / SECONDS:.1f} tokens/s")
        assert of_vision.startswith(
            "running 0, waiting 0; encoded 0.5 pictures/s, 2.5 tiles/s, kept 0.0 %; "
            "sent 0.5 pictures/s, tiles compressed "
        )
        # The last token of an answer is not computed on.
        assert f"generated {(NUM_TOKENS - 1) / SECONDS:.1f} tokens/s" in of_language
        assert of_language.endswith("KV cache 0.0 %, prefix hits 0.0 %")
        await ask(cluster)
        again = [line.next(SECONDS) for line in lines]
        assert "prefix hits 0.0 %" not in again[2]
        assert [line.next(SECONDS) for line in lines] == ["", "", ""]
