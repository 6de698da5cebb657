"""How an answer looks in a terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from deploy.report import BAR_CHARACTERS, print_stage_table, print_usage, stages
from protos.dvd.v1 import inference_pb2

TIMINGS = {
    "queue_seconds": 0.01,
    "preprocess_seconds": 0.02,
    "vit_seconds": 0.03,
    "gate_seconds": 0.0,
    "project_seconds": 0.0,
    "transfer_seconds": 0.02,
    "prefill_seconds": 0.04,
    "decode_seconds": 0.12,
}


def finished(**usage: int) -> inference_pb2.GenerateFinished:
    """A finished answer with these tokens and no picture."""
    return inference_pb2.GenerateFinished(
        usage=inference_pb2.Usage(**usage),
        timings=inference_pb2.StageTimings(
            **TIMINGS, time_to_first_token_seconds=0.1, total_seconds=12.25
        ),
    )


def picture(
    columns: int, rows: int, has_thumbnail: bool, compressed: list[bool]
) -> inference_pb2.GenerateFinished:
    answer = finished()
    answer.images.add(
        columns=columns, rows=rows, has_thumbnail=has_thumbnail, compressed=compressed
    )
    return answer


def shown(show: Any, answer: Any) -> str:
    """What reaches a terminal without colours."""
    stream = io.StringIO()
    show(Console(file=stream, width=200, color_system=None), answer)
    return re.sub("\N{NO-BREAK SPACE}", " ", stream.getvalue())


def test_stages_come_in_the_order_of_a_requests_life() -> None:
    timings = inference_pb2.StageTimings(**TIMINGS)
    assert {stage.name: stage.seconds for stage in stages(timings)} == {
        "queue": 0.01,
        "decode+tile": 0.02,
        "ViT": 0.03,
        "gate": 0.0,
        "project": 0.0,
        "transfer": 0.02,
        "prefill": 0.04,
        "decode": 0.12,
    }


def test_tokens_are_shown_before_and_after() -> None:
    usage = {"visual_tokens_before_resolution": 1000, "visual_tokens": 250}
    text = shown(print_usage, finished(**usage, text_tokens=17, completion_tokens=9))
    assert "visual tokens 1000 → 250 (-75%)   text tokens 17   answer tokens 9" in text


@pytest.mark.parametrize("visual_tokens", [0, 64])
def test_nothing_saved_is_not_shown_as_a_saving(visual_tokens: int) -> None:
    usage = {"visual_tokens_before_resolution": visual_tokens, "visual_tokens": visual_tokens}
    text = shown(print_usage, finished(**usage))
    assert f"visual tokens {visual_tokens} → {visual_tokens}   text" in text


@pytest.mark.parametrize("is_raised", [True, False])
def test_it_is_told_when_load_has_raised_compression(is_raised: bool) -> None:
    answer = finished()
    answer.resolution.raised_for_load = is_raised
    assert ("because the server is busy" in shown(print_usage, answer)) == is_raised


def test_a_picture_is_drawn_row_by_row() -> None:
    compressed = [False, True, True, False, True]
    text = shown(print_usage, picture(2, 2, True, compressed))
    assert "picture 1: 2 x 2 tiles + thumbnail  ■□ □■ □  2 full, 3 compressed" in text


def test_a_picture_of_one_tile_has_no_thumbnail() -> None:
    text = shown(print_usage, picture(1, 1, False, [False]))
    assert "picture 1: 1 x 1 tiles  ■  1 full, 0 compressed" in text


def test_the_bar_shares_its_width_by_time() -> None:
    text = shown(print_usage, finished())
    bar = next(line for line in text.splitlines() if "█" in line)
    assert bar.count("█") == pytest.approx(BAR_CHARACTERS, abs=3)
    assert "queue 10 ms" in text
    assert "decode 120 ms" in text


def test_an_answer_that_took_no_time_has_an_empty_bar() -> None:
    assert "█" not in shown(print_usage, inference_pb2.GenerateFinished())


def test_short_times_are_in_milliseconds_and_long_ones_in_seconds() -> None:
    assert "first token after 100 ms   all after 12.2 s" in shown(print_usage, finished())


def test_the_table_shows_the_mean_of_every_stage() -> None:
    other = inference_pb2.GenerateFinished(
        timings=inference_pb2.StageTimings(decode_seconds=0.02, vit_seconds=0.09)
    )
    text = shown(print_stage_table, [finished(), other])
    assert re.search(r"decode +│ +70\.0", text)
    assert re.search(r"ViT +│ +60\.0", text)


def test_the_table_of_no_answers_is_empty() -> None:
    assert "decode" not in shown(print_stage_table, [])
