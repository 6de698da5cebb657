"""The checkpoint that the project ships: a cluster answers with it as an evaluation does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
import pytest_asyncio

from common.conversation import TextPart
from deploy.client import InferenceClient, ask_about
from deploy.config import DEFAULT_MODEL, load_config
from deploy.demo import DemoQuestion, read_questions
from deploy.supervisor import Supervisor
from protos.dvd.v1 import inference_pb2
from tests.integration.requests import wire_request
from tests.reference.conversation import message
from training.evaluate import conversation
from training.pictures import Sample, draw_samples
from training.resolution_modes import Mode, choose_masks
from training.served_model import MAX_ANSWER_TOKENS, ResolvedQuestion, ServedModel

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.cluster]

SAMPLES = list(islice(draw_samples(seed=50), 50))


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return ServedModel(Path(DEFAULT_MODEL))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[InferenceClient]:
    supervisor = Supervisor(load_config(None, {"router.grpc_port": 0}))
    try:
        ready = await supervisor.start()
        connected = InferenceClient(ready.router.address)
        yield connected
        await connected.close()
    finally:
        await supervisor.stop()


def evaluated(model: ServedModel, samples: Sequence[Sample]) -> list[str]:
    """Answer as `training.evaluate` does, by the published rule."""
    thresholds = model.config.thresholds
    assert thresholds is not None
    questions = []
    for sample in samples:
        images = tuple(model.encode(sample.files()))
        masks = choose_masks(Mode.REQUEST, [image.scores for image in images], thresholds)
        questions.append(ResolvedQuestion(conversation(sample), images, masks))
    return model.answer(questions)


def asked(sample: Sample) -> inference_pb2.GenerateRequest:
    files = sample.files()
    messages = tuple(
        message(said.role, *(part.text if isinstance(part, TextPart)
                             else files[part.image_indexes[0]] for part in said.parts))
        for said in conversation(sample)
    )  # fmt: skip
    return wire_request(messages, MAX_ANSWER_TOKENS)


async def texts(
    client: InferenceClient, requests: Sequence[inference_pb2.GenerateRequest]
) -> list[str]:
    answers = await asyncio.gather(*(client.answer(request) for request in requests))
    return [answer.text for answer in answers]


async def test_the_cluster_answers_as_the_evaluation(
    client: InferenceClient, model: ServedModel
) -> None:
    told = await texts(client, [asked(sample) for sample in SAMPLES])
    assert told == evaluated(model, SAMPLES)


def single() -> list[DemoQuestion]:
    return [question for question in read_questions() if len(question.images) == 1]


def num_right(questions: Sequence[DemoQuestion], answers: Sequence[str]) -> int:
    return sum(
        answer == question.expected for question, answer in zip(questions, answers, strict=True)
    )


async def test_the_demo_is_answered_rightly_from_its_pictures_alone(
    client: InferenceClient,
) -> None:
    questions = single()
    assert len(questions) == 8
    right = [ask_about(each.images, each.question) for each in questions]
    # Another picture may hold the same answer, so each question is asked of all the others.
    swapped = [
        [
            ask_about(other.images, each.question)
            for each, other in zip(questions, questions[by:] + questions[:by], strict=True)
        ]
        for by in range(1, len(questions))
    ]
    dropped = [ask_about((), each.question) for each in questions]
    assert num_right(questions, await texts(client, right)) >= 7
    by_chance = [num_right(questions, await texts(client, each)) for each in swapped]
    # In so small a world a quarter is right by chance.
    assert sum(by_chance) <= 3 * len(swapped), by_chance
    assert num_right(questions, await texts(client, dropped)) <= 2
