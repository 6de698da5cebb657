"""Is it well, and how much does it do: what an operator looks at first."""

from deploy.grafana.board import SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, curves, heat, number
from deploy.grafana.promql import WINDOW, mean, quantile, rate, share, total
from deploy.grafana.statuses import OURS, STATUS_COLOURS

TTFT = "dvd_time_to_first_token_seconds"
ITL = "dvd_inter_token_latency_seconds"
E2E = "dvd_e2e_request_latency_seconds"
FAILED = rate("dvd_requests_total", where=f'{SELECTOR}, status=~"{OURS}"')
ERROR_SHARE = share(FAILED, rate("dvd_requests_total"))

NOW = Line(
    4,
    (
        number("Requests", "Answered or refused, a second.", "reqps", rate("dvd_requests_total")),
        number("Tokens generated", "Of all answers together, a second.", "suffix: tok/s",
               rate("dvd_generation_tokens_total"), decimals=0),
        number("Pictures", "Of answered requests, a second.", "suffix: /s",
               rate("dvd_request_images_sum")),
        number("First token, p95", "From arrival to the first token, for 95 of 100 requests.", "s",
               quantile(0.95, TTFT),
               (Step(None, "green"), Step(1, "yellow"), Step(5, "red"))),
        number("Failed", "Share of requests that failed for a reason of ours: neither refused, nor "
               "wrong, nor left by the client.", "percentunit", ERROR_SHARE,
               (Step(None, "green"), Step(0.01, "yellow"), Step(0.05, "red"))),
        number("Replicas up", "Replicas of both roles that a router sends work to.", "none",
               f"sum (max by (role) (dvd_replicas_up{{{SELECTOR}}}))",
               (Step(None, "red"), Step(2, "green")), decimals=0),
    ),
)  # fmt: skip
TRAFFIC = Line(
    8,
    (
        curves("Requests by outcome", "How requests ended, by gRPC status.", "reqps",
               [Query(rate("dvd_requests_total", "status"), "{{status}}")], is_stacked=True,
               colours=STATUS_COLOURS),
        curves("Tokens", "Prompt tokens taken in, by kind, and tokens generated.", "suffix: tok/s",
               [Query(rate("dvd_generation_tokens_total"), "generated"),
                Query(rate("dvd_prompt_tokens_total", "kind"), "prompt, {{kind}}")]),
        curves("Pictures and tiles", "Pictures of answered requests, and the tiles that they "
               "were cut into.", "suffix: /s",
               [Query(rate("dvd_request_images_sum"), "pictures"),
                Query(rate("dvd_request_tiles_sum"), "tiles")]),
    ),
)  # fmt: skip
LATENCY = Line(
    8,
    (
        curves("Time to the first token", "From arrival at the router to the first token.", "s",
               [Query(quantile(each, TTFT), f"p{each * 100:.0f}") for each in (0.5, 0.95, 0.99)]),
        curves("Time between tokens", "From one delivered token to the next.", "s",
               [Query(quantile(each, ITL), f"p{each * 100:.0f}") for each in (0.5, 0.95, 0.99)]),
        curves("Whole answer", "From arrival to the last token.", "s",
               [Query(quantile(each, E2E), f"p{each * 100:.0f}") for each in (0.5, 0.95, 0.99)]),
    ),
)  # fmt: skip
SPREAD = Line(
    8,
    (
        heat("First tokens, spread", "How many first tokens came within which time.", "s",
             f"sum by (le) (increase({TTFT}_bucket{{{SELECTOR}}}[{WINDOW}]))"),
        curves("In flight", "Requests that have been admitted and have not ended; pictures and "
               "requests that wait for a replica.", "short",
               [Query(total("dvd_num_requests_running", "role"), "{{role}}, running"),
                Query(total("dvd_num_requests_waiting", "role"), "{{role}}, waiting")]),
        curves("Where the time goes", "Mean seconds that a request spends in each stage.", "s",
               [Query(mean("dvd_request_stage_seconds", "stage"), "{{stage}}")], is_stacked=True),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-overview",
    title="DvD / Overview",
    text="Is it well, and how much does it do.",
    sections=(
        Section("Now", (NOW,)),
        Section("Traffic", (TRAFFIC,)),
        Section("Latency", (LATENCY, SPREAD)),
    ),
)
