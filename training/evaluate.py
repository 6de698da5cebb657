"""How well a checkpoint answers, with and without ViR: `python -m training.evaluate`.

Draws samples, asks them as a client would, and judges each last answer by exact text. Every mode
of the resolution rule answers from the same encoded pictures.
"""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import CheckpointError
from common.types import Role
from training.demo_pictures import count_right, read_demo_pictures
from training.evaluation_report import EvaluationReport, Verdict
from training.pictures import Sample, draw_samples
from training.resolution_modes import Masks, Mode, choose_masks, most_compressed
from training.served_model import ResolvedQuestion, ServedModel
from vision_service.images import EncodedImage

MODEL = Path("models/internvl3_5-tiny-flash")
# Samples whose features are in memory at a time, and that answer in one running batch.
CHUNK = 250

Images = tuple[EncodedImage, ...]


def conversation(sample: Sample) -> tuple[PromptMessage, ...]:
    """Say a sample as a client would: pictures first, the judged question last."""
    parts: list[TextPart | ImageGroupPart] = []
    for index in range(len(sample.scenes)):
        if len(sample.scenes) > 1:
            parts.append(TextPart(f"Image-{index + 1}: "))
        parts.append(ImageGroupPart((index,)))
    messages = []
    for turn in sample.turns:
        messages += [
            PromptMessage(Role.USER, (*parts, TextPart(turn.question))),
            PromptMessage(Role.ASSISTANT, (TextPart(turn.answer),)),
        ]
        parts = []
    return tuple(messages[:-1])


class Evaluation:
    """Answers samples with one checkpoint.

    Raises:
        CheckpointError: The checkpoint has no resolution router.
    """

    def __init__(self, model: ServedModel) -> None:
        thresholds = model.config.thresholds
        if thresholds is None:
            raise CheckpointError("The checkpoint has no resolution router to evaluate.")
        self._model = model
        self._thresholds = thresholds

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Answer samples in every mode and compare."""
        pictures = [file for sample in samples for file in sample.files()]
        encoded = iter(self._model.encode(pictures))
        images = [tuple(next(encoded) for _ in sample.scenes) for sample in samples]
        masks = [self._masks(each) for each in images]
        answers = self._answers(samples, images, masks)
        return [
            self._verdict(sample, each, chosen, {m: told[c] for m, c in chosen.items()})
            for sample, each, chosen, told in zip(samples, images, masks, answers, strict=True)
        ]

    def _masks(self, images: Images) -> dict[Mode, Masks]:
        scores = [image.scores for image in images]
        return {mode: choose_masks(mode, scores, self._thresholds) for mode in Mode}

    def _answers(
        self, samples: Sequence[Sample], images: Sequence[Images], masks: list[dict[Mode, Masks]]
    ) -> list[dict[Masks, str]]:
        """Answer each sample once for every way its tiles are decided."""
        asked = [
            (index, decided)
            for index, chosen in enumerate(masks)
            for decided in dict.fromkeys(chosen.values())
        ]
        texts = self._model.answer(
            ResolvedQuestion(conversation(samples[index]), images[index], decided)
            for index, decided in asked
        )
        answers: list[dict[Masks, str]] = [{} for _ in samples]
        for (index, decided), text in zip(asked, texts, strict=True):
            answers[index][decided] = text
        return answers

    def _verdict(
        self, sample: Sample, images: Images, masks: dict[Mode, Masks], answers: dict[Mode, str]
    ) -> Verdict:
        tiles = [image.grid.num_tiles for image in images]
        quantile = self._thresholds.relative
        return Verdict(
            kind=sample.kind,
            num_tiles=sum(tiles),
            right={mode: text == sample.turns[-1].answer for mode, text in answers.items()},
            compressed={mode: sum(map(sum, mask)) for mode, mask in masks.items()},
            most_compressed={mode: most_compressed(mode, tiles, quantile) for mode in Mode},
        )


def evaluate(model: ServedModel, num_samples: int, seed: int) -> list[Verdict]:
    """Draw samples and judge the model's answers."""
    evaluation = Evaluation(model)
    drawn = islice(draw_samples(seed), num_samples)
    verdicts: list[Verdict] = []
    while chunk := list(islice(drawn, CHUNK)):
        verdicts += evaluation.judge(chunk)
    return verdicts


def main() -> None:
    """Evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL, help="a Flash checkpoint")
    parser.add_argument("--num-samples", type=int, default=1000, help="how many questions")
    parser.add_argument("--seed", type=int, default=0, help="of the questions")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = ServedModel(arguments.model)
    verdicts = evaluate(model, arguments.num_samples, arguments.seed)
    demo = read_demo_pictures()
    demo_right = count_right(model, demo) if demo else None
    result = EvaluationReport(model.config, verdicts, demo_right).result()
    result.report(arguments.json)


if __name__ == "__main__":
    main()
