"""Every process: is it there, what does it do, what does it use."""

from deploy.grafana.board import REPLICA_SELECTOR, SELECTOR, Board, Line, Section
from deploy.grafana.panels import Query, Step, bars, curves, number, states
from deploy.grafana.promql import highest, rate, total
from deploy.grafana.stages import LANGUAGE, VISION

WHERE = REPLICA_SELECTOR
THERE = (Step(None, "red"), Step(1, "green"))
STATES = {
    1: ("up", "green"),
    2: ("probing", "blue"),
    3: ("suspect", "yellow"),
    4: ("ejected", "red"),
}
STATE = " or ".join(
    f'{value} * (dvd_replica_state{{{SELECTOR}, state="{name}"}} == 1)'
    for value, (name, _) in STATES.items()
)


def up(role: str) -> str:
    """Replicas of a role that a router sends work to."""
    return f'max (dvd_replicas_up{{{SELECTOR}, role="{role}"}})'


NOW = Line(
    4,
    (
        number("Vision replicas up", "That a router sends work to.", "none", up("vision"), THERE,
               0),
        number("Language replicas up", "That a router sends work to.", "none", up("language"),
               THERE, 0),
        number("Processes scraped", "Routers, replicas and supervisors that answer Prometheus.",
               "none", f'sum (up{{job="dvd", {SELECTOR}}})', THERE, 0),
        number("Restarts", "Replicas that came back in the last hour.", "none",
               f"sum (increase(dvd_replica_restarts_total{{{SELECTOR}}}[1h]))",
               (Step(None, "green"), Step(1, "yellow"), Step(5, "red")), 0),
    ),
)  # fmt: skip
HEALTH = Line(
    8,
    (
        states("State", "What the routers think of each replica; where they differ, the worst.",
               Query(f"max by (replica) ({STATE})", "{{replica}}"), STATES),
        curves("Restarts", "Replicas that came back, by role, in the five minutes before.",
               "short",
               [Query(f"sum by (role) (increase(dvd_replica_restarts_total{{{SELECTOR}}}[5m]))",
                      "{{role}}")]),
    ),
    (14, 10),
)  # fmt: skip
LOAD = Line(
    8,
    (
        bars("Busy", "Share of the time that each replica computes.", "percentunit",
             Query(f"({VISION.busy('replica')}) or ({LANGUAGE.busy('replica')})", "{{replica}}"),
             (Step(None, "green"), Step(0.7, "yellow"), Step(0.9, "red")), 1),
        curves("Running", "Requests, or pictures, that each process has in hand.", "short",
               [Query(total("dvd_num_requests_running", "replica", where=WHERE), "{{replica}}")]),
        curves("Waiting", "Requests, or pictures, that wait at each replica.", "short",
               [Query(total("dvd_num_requests_waiting", "replica", where=WHERE), "{{replica}}")]),
    ),
)  # fmt: skip
USE = Line(
    8,
    (
        curves("CPU", "Cores that each process uses.", "short",
               [Query(rate("process_cpu_seconds_total", "replica", where=WHERE), "{{replica}}")]),
        curves("Memory", "Resident bytes of each process.", "bytes",
               [Query(highest("process_resident_memory_bytes", "replica", where=WHERE),
                      "{{replica}}")]),
        curves("Open files", "Descriptors of each process, sockets among them.", "short",
               [Query(highest("process_open_fds", "replica", where=WHERE), "{{replica}}")]),
    ),
)  # fmt: skip
HELD = Line(
    8,
    (
        bars("Weights", "Bytes of tensors that each replica holds.", "bytes",
             Query(highest("dvd_weight_bytes", "replica", where=WHERE), "{{replica}}")),
        curves("Tokens generated", "By language replica: equal where the load is.",
               "suffix: tok/s",
               [Query(rate("dvd_generation_tokens_total", "replica", where=WHERE),
                      "{{replica}}")]),
        curves("Tiles encoded", "By vision replica.", "suffix: tiles/s",
               [Query(rate("dvd_vision_encoded_tiles_total", "replica", where=WHERE),
                      "{{replica}}")]),
    ),
)  # fmt: skip

BOARD = Board(
    uid="dvd-replicas",
    title="DvD / Replicas",
    text="Every process: is it there, what does it do, what does it use.",
    sections=(
        Section("Now", (NOW,)),
        Section("Health", (HEALTH,)),
        Section("Load", (LOAD,)),
        Section("What they use", (USE, HELD)),
    ),
)
