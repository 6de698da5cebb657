"""Three stages side by side: which one sets the pace, and do they overlap."""

from deploy.grafana.board import SELECTOR, Board, Line, Section
from deploy.grafana.panels import PanelBuilder, Query, Step, bars, curves, number
from deploy.grafana.promql import mean, quantile, rate, total
from deploy.grafana.stages import LANGUAGE, STAGES, TRANSFER, VISION, Stage

LEVELS = (Step(None, "green"), Step(0.7, "yellow"), Step(0.9, "red"))
LATENCIES = (0.5, 0.95)


def busy(stage: Stage, text: str) -> PanelBuilder:
    """How much of its time a stage works."""
    return number(f"{stage.title.capitalize()} busy", text, "percentunit", stage.busy(), LEVELS, 0)


def shares(title: str, text: str, unit: str, histogram: str) -> PanelBuilder:
    """A histogram's middle and its slow end."""
    queries = [Query(quantile(each, histogram), f"p{each * 100:.0f}") for each in LATENCIES]
    return curves(title, text, unit, queries)


def waiting(role: str, text: str) -> PanelBuilder:
    """What runs and waits at the replicas of a role."""
    where = f'{SELECTOR}, role="{role}"'
    return curves("Waiting", text, "short", [
        Query(total("dvd_num_requests_running", where=where), "running"),
        Query(total("dvd_num_requests_waiting", where=where), "waiting"),
    ])  # fmt: skip


ALL_BUSY = " + ".join(stage.busy() for stage in STAGES)
PACE = Line(
    4,
    (
        busy(VISION, "Share of its time that a vision replica computes, the mean over them."),
        busy(TRANSFER, "Share of its time that a vision replica has an embedding under way."),
        busy(LANGUAGE, "Share of its time that a language replica computes, the mean over them."),
        number("Stages at work", "How many of the three work at the same time, on average: "
               "more than 1 is overlap, and what decoupling is for.", "none", ALL_BUSY,
               (Step(None, "yellow"), Step(1, "green")), 2),
        number("Vision to language", "How busy the vision side is, divided by how busy the "
               "language side is. Far above 1: add vision replicas; far below: add language "
               "replicas.", "none", f"({VISION.busy()}) / (({LANGUAGE.busy()}) > 0)",
               (Step(None, "orange"), Step(0.5, "green"), Step(2, "orange")), 2),
    ),
    (5, 5, 5, 5, 4),
)  # fmt: skip
OVERLAP = Line(
    8,
    (
        curves("Busy", "Share of the time that each stage works; the highest sets the pace.",
               "percentunit", [Query(stage.busy(), stage.title) for stage in STAGES], highest=1),
        bars("Busy by replica", "The same, for each replica: sides that differ much want another "
             "ratio, replicas of a side that differ much want another placement.", "percentunit",
             Query(f"({VISION.busy('replica')}) or ({LANGUAGE.busy('replica')})", "{{replica}}"),
             LEVELS, highest=1),
        curves("Where the time goes", "Mean seconds that a request spends in each stage. Stages "
               "of several pictures overlap, so that the sum may exceed the request.", "s",
               [Query(mean("dvd_request_stage_seconds", "stage"), "{{stage}}")], is_stacked=True),
    ),
)  # fmt: skip
RATES = Line(
    7,
    (
        curves("Vision", "Tiles that go through the vision transformer.", "suffix: tiles/s",
               [Query(rate("dvd_vision_encoded_tiles_total"), "encoded")]),
        curves("Transfer", "Embeddings that go from vision to language.", "Bps",
               [Query(rate("dvd_embedding_bytes_total", "direction"), "{{direction}}")]),
        curves("Language", "Tokens generated, and prompt tokens taken in.", "suffix: tok/s",
               [Query(rate("dvd_generation_tokens_total"), "generated"),
                Query(rate("dvd_prompt_tokens_total", "kind"), "prompt, {{kind}}")]),
    ),
)  # fmt: skip
TIMES = Line(
    7,
    (
        shares("Vision pass", "One pass of the vision transformer over a batch of tiles.", "s",
               "dvd_vision_vit_seconds"),
        shares("Embedding transfer", "From the first byte of an embedding to its "
               "acknowledgement, measured by the sender.", "s", "dvd_embedding_transfer_seconds"),
        shares("Time between tokens", "From one delivered token to the next.", "s",
               "dvd_inter_token_latency_seconds"),
    ),
)  # fmt: skip
QUEUES = Line(
    7,
    (
        waiting("vision", "Pictures partly encoded, and pictures that wait for a pass."),
        curves("Waiting for credit", "Seconds a second that senders wait for the receiver to "
               "grant room; where it grows, the language side takes embeddings in too slowly.",
               "percentunit", [Query(rate("dvd_embedding_credit_wait_seconds_sum"), "waiting")]),
        waiting("language", "Requests in the batch, and requests that wait for inbox or KV room."),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-pipeline",
    title="DvD / Pipeline",
    text="Three stages side by side: which one sets the pace, and do they overlap.",
    sections=(
        Section("Which side sets the pace", (PACE, OVERLAP)),
        Section("Side by side: vision, transfer, language", (RATES, TIMES, QUEUES)),
    ),
)
