"""A probe of the language engine runs the model, and fails where an answer would."""

import pytest
import torch

from common.errors import DvdError
from language_service.attention import PAGED_ATTENTION
from language_service.probe import LanguageProbe
from tests.language_service.harness import (
    LIMITS,
    build_engine,
    build_model,
    greedy,
    run,
    submit,
    text_prompt,
)
from tests.language_service.test_engine import failing_model


def test_a_probe_passes_once_the_engine_has_run_it() -> None:
    engine = build_engine(build_model(PAGED_ATTENTION))
    probe = LanguageProbe(engine).submit()
    assert not probe.done()
    run(engine)
    assert probe.result(0) is None
    assert engine.used_kv_tokens == engine.waiting_requests == 0


def test_mode_6_a_probe_fails_when_the_model_fails() -> None:
    engine = build_engine(failing_model(1))
    probe = LanguageProbe(engine).submit()
    run(engine)
    with pytest.raises(DvdError):
        probe.result(0)


def test_mode_6_a_probe_fails_when_the_model_computes_no_numbers() -> None:
    model = build_model(PAGED_ATTENTION)
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight.fill_(float("nan"))
    engine = build_engine(model)
    probe = LanguageProbe(engine).submit()
    run(engine)
    with pytest.raises(DvdError, match="not finite"):
        probe.result(0)


def test_a_probe_goes_before_those_that_wait() -> None:
    engine = build_engine(build_model(PAGED_ATTENTION))
    for number in range(LIMITS.max_sequences):
        submit(engine, f"r{number}", text_prompt(20), greedy(40))
    submit(engine, "waits", text_prompt(20), greedy(40))
    engine.step()
    probe = LanguageProbe(engine).submit()
    while not probe.done():
        assert engine.step()
    assert engine.waiting_requests + engine.running_requests >= 1
    run(engine)


def test_probes_may_overlap() -> None:
    engine = build_engine(build_model(PAGED_ATTENTION))
    probe = LanguageProbe(engine)
    first, second = probe.submit(), probe.submit()
    run(engine)
    assert first.done()
    assert second.done()
