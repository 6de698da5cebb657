"""The door and what it does about trouble: outcomes, refusals, retries, resumes, bounds."""

from deploy.grafana.board import SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, curves, number
from deploy.grafana.promql import quantile, rate, share, total
from deploy.grafana.statuses import OURS, STATUS_COLOURS

REQUESTS = rate("dvd_requests_total")
REFUSED = rate("dvd_refusals_total")
FAILED = rate("dvd_requests_total", where=f'{SELECTOR}, status=~"{OURS}"')
RARE = (Step(None, "green"), Step(0.01, "yellow"), Step(0.05, "red"))

NOW = Line(
    4,
    (
        number("Requests", "That ended, however they did, a second.", "reqps", REQUESTS),
        number("Failed", "Share that failed for a reason of ours: neither refused, nor wrong, nor "
               "left by the client.", "percentunit", share(FAILED, REQUESTS), RARE),
        number("Refused", "Share that was refused for want of room.", "percentunit",
               share(REFUSED, REQUESTS), RARE),
        number("Retries", "Attempts at another replica, a second.", "suffix: /s",
               rate("dvd_retries_total"), (Step(None, "green"), Step(0.01, "yellow")), 2),
        number("Resumed answers", "Answers that went on at another replica, a second.",
               "suffix: /s", rate("dvd_resumptions_total"),
               (Step(None, "green"), Step(0.01, "yellow")), 2),
        number("In flight", "Admitted and not ended.", "none",
               total("dvd_num_requests_running", where=f'{SELECTOR}, role="router"'), decimals=0),
    ),
)  # fmt: skip
OUTCOMES = Line(
    8,
    (
        curves("Requests by outcome", "By gRPC status.", "reqps",
               [Query(rate("dvd_requests_total", "status"), "{{status}}")], is_stacked=True,
               colours=STATUS_COLOURS),
        curves("Answers by finish reason", "Why answers ended.", "reqps",
               [Query(rate("dvd_requests_total", "finish_reason",
                           where=f'{SELECTOR}, status="OK"'), "{{finish_reason}}")],
               is_stacked=True),
        curves("Refusals by cause", "Requests, tiles, tokens, image_bytes: a bound of the router. "
               "Tenant: a client's fair share. Deadline: could not end in time.", "reqps",
               [Query(rate("dvd_refusals_total", "cause"), "{{cause}}")]),
    ),
)  # fmt: skip
TROUBLE = Line(
    8,
    (
        curves("Retries", "Attempts at another replica, by the role of the one that was lost.",
               "suffix: /s", [Query(rate("dvd_retries_total", "role"), "{{role}}")]),
        curves("Resumed answers", "Answers that went on at another replica behind what the client "
               "had.", "suffix: /s", [Query(rate("dvd_resumptions_total"), "resumed")]),
        curves("Compressed more under load", "Answers whose pictures were compressed more because "
               "the router was nearly full.", "suffix: /s",
               [Query(rate("dvd_requests_raised_for_load_total"), "raised")]),
    ),
)  # fmt: skip
BOUNDS = Line(
    8,
    (
        curves("Tiles and tokens in flight", "What the router's bounds count.", "short",
               [Query(total("dvd_router_outstanding_tiles"), "tiles"),
                Query(total("dvd_router_outstanding_tokens"), "tokens")]),
        curves("Picture bytes held", "Of requests in flight.", "bytes",
               [Query(total("dvd_router_retained_image_bytes"), "held")]),
        curves("Placements", "Requests and pictures that were given to a replica.", "suffix: /s",
               [Query(rate("dvd_placements_total", "role"), "{{role}}")]),
    ),
)  # fmt: skip
TIMES = Line(
    8,
    tuple(
        curves(title, text, "s",
               [Query(quantile(each, name), f"p{each * 100:.0f}") for each in (0.5, 0.95, 0.99)])
        for title, text, name in (
            ("Time to the first token", "From arrival to the first token.",
             "dvd_time_to_first_token_seconds"),
            ("Time between tokens", "From one delivered token to the next.",
             "dvd_inter_token_latency_seconds"),
            ("Whole answer", "From arrival to the last token.",
             "dvd_e2e_request_latency_seconds"),
        )
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-router",
    title="DvD / Router and reliability",
    text="The door and what it does about trouble.",
    sections=(
        Section("Now", (NOW,)),
        Section("Outcomes", (OUTCOMES,)),
        Section("Trouble", (TROUBLE,)),
        Section("Bounds and placement", (BOUNDS,)),
        Section("Latency", (TIMES,)),
    ),
)
