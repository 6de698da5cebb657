"""The language side: batch, tokens, KV cache, prefix reuse, preemption."""

from deploy.grafana.board import REPLICA_SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, bars, curves, heat, number
from deploy.grafana.promql import WINDOW, highest, quantile, rate, share, total
from deploy.grafana.stages import BUSY

WHERE = f'{REPLICA_SELECTOR}, role="language"'
FULL = (Step(None, "green"), Step(0.8, "yellow"), Step(0.95, "red"))
HITS = rate("dvd_prefix_hit_tokens_total", where=WHERE)
LOOKED_UP = rate("dvd_prefix_query_tokens_total", where=WHERE)

NOW = Line(
    4,
    (
        number("Tokens generated", "Of all answers together, a second.", "suffix: tok/s",
               rate("dvd_generation_tokens_total", where=WHERE), decimals=0),
        number("Prompt tokens", "Taken in, text and pictures, a second.", "suffix: tok/s",
               rate("dvd_prompt_tokens_total", where=WHERE), decimals=0),
        number("KV cache in use", "Of the fullest replica.", "percentunit",
               highest("dvd_kv_cache_usage_ratio", where=WHERE), FULL),
        number("Prefix hits", "Share of prompt tokens whose keys and values were still there.",
               "percentunit", share(HITS, LOOKED_UP), (Step(None, "green"),), 0),
        number("Waiting", "Requests that wait for inbox or KV room.", "none",
               total("dvd_num_requests_waiting", where=WHERE),
               (Step(None, "green"), Step(1, "yellow"), Step(16, "red")), 0),
        number("Preemptions", "Requests that gave their room back and are computed again, a "
               "second.", "suffix: /s", rate("dvd_preemptions_total", where=WHERE),
               (Step(None, "green"), Step(0.01, "yellow"), Step(1, "red"))),
    ),
)  # fmt: skip
WORK = Line(
    8,
    (
        curves("Tokens", "Prompt tokens by kind, and tokens generated.", "suffix: tok/s",
               [Query(rate("dvd_generation_tokens_total", where=WHERE), "generated"),
                Query(rate("dvd_prompt_tokens_total", "kind", where=WHERE), "prompt, {{kind}}")]),
        curves("Requests running and waiting", "In the batch, and waiting for inbox or KV room.",
               "short",
               [Query(total("dvd_num_requests_running", where=WHERE), "running"),
                Query(total("dvd_num_requests_waiting", where=WHERE), "waiting")]),
        heat("Tokens in a step", "How many steps of the model had how many tokens: prefill makes "
             "them large, decoding alone small.", "none",
             f"sum by (le) (increase(dvd_iteration_tokens_bucket{{{WHERE}}}[{WINDOW}]))"),
    ),
)  # fmt: skip
CACHE = Line(
    8,
    (
        curves("KV cache", "Tokens: in use by requests, kept because they may serve again, free.",
               "short",
               [Query(total("dvd_kv_used_tokens", where=WHERE), "in use"),
                Query(total("dvd_kv_kept_tokens", where=WHERE), "kept"),
                Query(total("dvd_kv_free_tokens", where=WHERE), "free")]),
        bars("KV cache in use, by replica", "Share of its tokens that running requests hold.",
             "percentunit",
             Query(highest("dvd_kv_cache_usage_ratio", "replica", where=WHERE), "{{replica}}"),
             FULL, 1),
        curves("Prefix cache", "Prompt tokens looked up, and those that were found.",
               "suffix: tok/s", [Query(LOOKED_UP, "looked up"), Query(HITS, "found")]),
    ),
)  # fmt: skip
TIMES = Line(
    8,
    (
        curves("Busy, by stage", "Seconds a second that replicas prefill and decode.",
               "percentunit",
               [Query(rate(BUSY, "stage", where=WHERE), "{{stage}}")], is_stacked=True),
        curves("Prompt and answer lengths", "Tokens of a request, for half of them and for 95 of "
               "100.", "short",
               [Query(quantile(each, f"dvd_request_{kind}_tokens"), f"{kind}, p{each * 100:.0f}")
                for kind in ("prompt", "generation") for each in (0.5, 0.95)]),
        curves("Time per output token", "Mean time between the tokens of one answer.", "s",
               [Query(quantile(each, "dvd_request_time_per_output_token_seconds"),
                      f"p{each * 100:.0f}") for each in (0.5, 0.95, 0.99)]),
    ),
)  # fmt: skip
LOSSES = Line(
    7,
    (
        curves("Preemptions", "Requests that gave their KV room back before their end.",
               "suffix: /s",
               [Query(rate("dvd_preemptions_total", "replica", where=WHERE), "{{replica}}")]),
        curves("Pictures reused", "Neither encoded nor sent, because their keys and values were "
               "kept.", "suffix: /s",
               [Query(rate("dvd_reused_images_total", "replica", where=WHERE), "{{replica}}")]),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-language",
    title="DvD / Language and KV",
    text="The language side: batch, tokens, KV cache, prefix reuse, preemption.",
    sections=(
        Section("Now", (NOW,)),
        Section("Batch", (WORK,)),
        Section("KV cache", (CACHE,)),
        Section("Time", (TIMES,)),
        Section("Given back and reused", (LOSSES,)),
    ),
)
