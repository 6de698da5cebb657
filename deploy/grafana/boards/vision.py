"""The vision side: decoding, passes, the visual resolution router, what is kept and shared."""

from deploy.grafana.board import REPLICA_SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, curves, heat, number
from deploy.grafana.promql import WINDOW, mean, quantile, rate, share, total

WHERE = REPLICA_SELECTOR
BEFORE = rate("dvd_vision_tokens_total", where=f'{WHERE}, point="before"')
AFTER = rate("dvd_vision_tokens_total", where=f'{WHERE}, point="after"')
LOW = rate("dvd_vision_tiles_total", where=f'{WHERE}, resolution="low"')
TILES = rate("dvd_vision_tiles_total", where=WHERE)
HITS, MISSES = (
    rate(f"dvd_vision_{what}_total", where=f'{WHERE}, work="encoding"')
    for what in ("kept", "computed")
)
STEPS = ("queue", "preprocess", "vit", "vir", "projector")

NOW = Line(
    4,
    (
        number("Tiles encoded", "Tiles through the vision transformer, a second.",
               "suffix: tiles/s", rate("dvd_vision_encoded_tiles_total", where=WHERE)),
        number("Tiles compressed", "Share of projected tiles that got the fewer tokens.",
               "percentunit", share(LOW, TILES), decimals=0),
        number("Visual tokens saved", "Share of visual tokens that the visual resolution router "
               "took away.", "percentunit", share(f"{BEFORE} - {AFTER}", BEFORE),
               (Step(None, "green"),), 0),
        number("Tiles in a pass", "Mean number of tiles in a pass of the vision transformer.",
               "none", share(rate("dvd_vision_encoded_tiles_total", where=WHERE),
                             rate("dvd_vision_batches_total", where=WHERE))),
        number("Kept pictures hit", "Share of pictures whose features were still there.",
               "percentunit", share(HITS, f"{HITS} + {MISSES}"), decimals=0),
        number("Tiles waiting", "Tiles that are not encoded yet.", "none",
               total("dvd_vision_waiting_tiles", where=WHERE), decimals=0),
    ),
)  # fmt: skip
ROUTING = Line(
    8,
    (
        curves("Tiles by resolution", "What the visual resolution router decided: high keeps all "
               "tokens of a tile, low a quarter.", "suffix: tiles/s",
               [Query(rate("dvd_vision_tiles_total", "resolution", where=WHERE),
                      "{{resolution}}")], is_stacked=True),
        curves("Visual tokens", "Before and after the visual resolution router.", "suffix: tok/s",
               [Query(BEFORE, "before"), Query(AFTER, "after")]),
        curves("Scores", "Tiles that the gate has scored, and tiles whose score was no number, "
               "which keep full resolution.", "suffix: tiles/s",
               [Query(rate("dvd_vision_gated_tiles_total", where=WHERE), "scored"),
                Query(rate("dvd_vision_unscored_tiles_total", where=WHERE), "without a score")]),
    ),
)  # fmt: skip
TIMES = Line(
    8,
    (
        curves("Time in each step, mean", "Seconds that a picture waits, is decoded and cut, is "
               "in the transformer, the gate (vir) and the projector.", "s",
               [Query(mean(f"dvd_vision_{step}_seconds", where=WHERE), step) for step in STEPS]),
        curves("Time in each step, p95", "The same, for 95 of 100.", "s",
               [Query(quantile(0.95, f"dvd_vision_{step}_seconds", where=WHERE), step)
                for step in STEPS]),
        heat("Tiles in a pass, spread", "How many passes had how many tiles: full passes use "
             "the device best.", "none",
             f"sum by (le) (increase(dvd_vision_batch_tiles_bucket{{{WHERE}}}[{WINDOW}]))"),
    ),
)  # fmt: skip
REUSE = Line(
    8,
    (
        curves("Pictures running and waiting", "Pictures partly encoded, and pictures that wait "
               "for a pass.", "short",
               [Query(total("dvd_num_requests_running", where=f'{WHERE}, role="vision"'),
                      "running"),
                Query(total("dvd_num_requests_waiting", where=f'{WHERE}, role="vision"'),
                      "waiting")]),
        curves("Work saved", "Encodings and projections that were kept from before, or joined "
               "while they were under way.", "suffix: /s",
               [Query(rate("dvd_vision_kept_total", "work", where=WHERE), "{{work}}, kept"),
                Query(rate("dvd_vision_joined_total", "work", where=WHERE), "{{work}}, joined")]),
        curves("Features kept", "Bytes of pictures that have been encoded, and how many of them "
               "are in use.", "bytes",
               [Query(total("dvd_vision_features_kept_bytes", where=WHERE), "kept"),
                Query(total("dvd_vision_features_in_use_bytes", where=WHERE), "in use"),
                Query(total("dvd_vision_features_max_bytes", where=WHERE), "bound")]),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-vision",
    title="DvD / Vision and ViR",
    text="The vision side: decoding, passes, the visual resolution router, what is kept.",
    sections=(
        Section("Now", (NOW,)),
        Section("Visual resolution router", (ROUTING,)),
        Section("Passes", (TIMES,)),
        Section("Queue and reuse", (REUSE,)),
    ),
)
