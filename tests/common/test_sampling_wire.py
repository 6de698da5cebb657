"""Sampling fields survive the wire, whatever is set and whatever is left open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.sampling_wire import read_sampling, read_stop, write_sampling, write_stop
from common.types import SamplingRequest, StopMatch, TokenBias
from protos.dvd.v1 import inference_pb2

uint32 = st.integers(0, 2**32 - 1)
floats = st.floats(width=32, allow_nan=False)
requests = st.builds(
    SamplingRequest,
    seed=st.integers(0, 2**64 - 1),
    max_tokens=st.none() | uint32,
    temperature=st.none() | floats,
    top_k=st.none() | uint32,
    top_p=st.none() | floats,
    min_p=st.none() | floats,
    repetition_penalty=st.none() | floats,
    presence_penalty=floats,
    frequency_penalty=floats,
    logit_bias=st.dictionaries(uint32, floats).map(
        lambda biases: tuple(TokenBias(*item) for item in sorted(biases.items()))
    ),
    stop_strings=st.lists(st.text()).map(tuple),
    stop_token_ids=st.lists(uint32).map(tuple),
    ignore_eos=st.booleans(),
    num_logprobs=st.none() | uint32,
    num_choices=uint32,
)


@given(requests)
def test_a_request_reads_as_it_was_written(request: SamplingRequest) -> None:
    wire = inference_pb2.SamplingParameters.FromString(write_sampling(request).SerializeToString())
    assert read_sampling(wire) == request


@pytest.mark.parametrize(
    "stop", [None, StopMatch(text="###"), StopMatch(token_id=0), StopMatch(token_id=9)]
)
def test_a_stop_reads_as_it_was_written(stop: StopMatch | None) -> None:
    finished = inference_pb2.GenerateFinished(stop=write_stop(stop))
    assert finished.HasField("stop") == (stop is not None)
    assert read_stop(finished.stop) == stop
