"""Embeddings on their way from vision to language: bytes, seconds, credit, how streams end."""

from deploy.grafana.board import REPLICA_SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, curves, heat, number
from deploy.grafana.promql import WINDOW, mean, quantile, rate, share, total

WHERE = REPLICA_SELECTOR
SECONDS = "dvd_embedding_transfer_seconds"
STREAMS = rate("dvd_embedding_streams_total", where=WHERE)
FAILED = rate("dvd_embedding_streams_total", where=f'{WHERE}, outcome=~"broken|refused"')
SENT = rate("dvd_embedding_bytes_total", where=f'{WHERE}, direction="sent"')

NOW = Line(
    4,
    (
        number("Sent", "Embedding bytes that leave the vision side.", "Bps", SENT),
        number("Streams", "Embeddings a second; each is one stream.", "suffix: /s", STREAMS),
        number("Transfer, p95", "From the first byte to the acknowledgement, for 95 of 100.", "s",
               quantile(0.95, SECONDS, where=WHERE)),
        number("Bytes of an embedding", "Mean size of what one stream carries.", "bytes",
               share(SENT, STREAMS)),
        number("Failed", "Share of streams that broke or were refused. Each is repeated once by "
               "the sender, then tried again by the router.", "percentunit",
               share(FAILED, STREAMS),
               (Step(None, "green"), Step(0.001, "yellow"), Step(0.02, "red"))),
    ),
    (5, 5, 5, 5, 4),
)  # fmt: skip
FLOW = Line(
    8,
    (
        curves("Bytes", "Embedding bytes by direction: what is sent is received, but for streams "
               "that break.", "Bps",
               [Query(rate("dvd_embedding_bytes_total", "direction", where=WHERE),
                      "{{direction}}")]),
        curves("Streams by outcome", "Committed: taken whole and acknowledged. Broken: the "
               "connection ended. Refused: the receiver did not take it.", "suffix: /s",
               [Query(rate("dvd_embedding_streams_total", "outcome", where=WHERE),
                      "{{outcome}}")]),
        curves("Bytes by replica", "Sent by vision replicas and received by language replicas.",
               "Bps", [Query(rate("dvd_embedding_bytes_total", "replica", where=WHERE),
                             "{{replica}}")]),
    ),
)  # fmt: skip
TIMES = Line(
    8,
    (
        curves("Transfer time", "From the first byte of an embedding to its acknowledgement, "
               "measured by the sender alone.", "s",
               [Query(quantile(each, SECONDS, where=WHERE), f"p{each * 100:.0f}")
                for each in (0.5, 0.95, 0.99)]),
        heat("Transfer time, spread", "How many transfers took how long.", "s",
             f"sum by (le) (increase({SECONDS}_bucket{{{WHERE}}}[{WINDOW}]))"),
        curves("Waiting for credit", "Mean seconds that a stream waits until the receiver grants "
               "it room.", "s", [Query(mean("dvd_embedding_credit_wait_seconds", where=WHERE),
                                       "mean")]),
    ),
)  # fmt: skip
ROOM = Line(
    8,
    (
        curves("Inbox", "Bytes of embeddings that language replicas have reserved or hold.",
               "bytes", [Query(total("dvd_inbox_reserved_bytes", "replica", where=WHERE),
                               "{{replica}}"),
                         Query(total("dvd_inbox_max_bytes", where=WHERE), "bound of all")]),
        curves("Pictures that needed no transfer", "Their keys and values were still in the KV "
               "cache, or their embedding was projected before.", "suffix: /s",
               [Query(rate("dvd_reused_images_total", where=WHERE), "in the KV cache"),
                Query(rate("dvd_vision_kept_total", where=f'{WHERE}, work="projection"'),
                      "projected before")]),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-transfer",
    title="DvD / Transfer",
    text="Embeddings on their way from vision to language.",
    sections=(
        Section("Now", (NOW,)),
        Section("Flow", (FLOW,)),
        Section("Time and room", (TIMES, ROOM)),
    ),
)
