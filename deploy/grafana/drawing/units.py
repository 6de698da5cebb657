"""Values as text, by Grafana's names of units, and ticks of an axis at round values."""

import math

METRIC = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " K"), (1.0, ""))
BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B"))
SECONDS = (
    (86400.0, " d"), (3600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms"), (1e-6, " us"),
)  # fmt: skip
SCALES = {
    "s": SECONDS,
    "short": METRIC,
    "none": ((1.0, ""),),
    "percentunit": ((0.01, "%"),),
    "bytes": BYTES,
    "decbytes": BYTES,
    "Bps": tuple((scale, f"{name}/s") for scale, name in BYTES),
    "reqps": tuple((scale, f"{name} req/s") for scale, name in METRIC),
}
SUFFIX = "suffix:"
DIGITS = 3
ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def text_of(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit.

    Args:
        value: In the unit's base.
        unit: Grafana's name, or `suffix:` and what follows the number.
        decimals: Behind the point; None for three digits in all.
    """
    scale, name = _scale(abs(value), unit)
    scaled = value / scale
    if decimals is None:
        before = len(str(int(abs(scaled)))) if abs(scaled) >= 1 else 1
        decimals = max(0, DIGITS - before)
        text = f"{scaled:.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{scaled:.{decimals}f}"
    return f"{text}{name}"


def ticks(highest: float, unit: str, most: int) -> list[float]:
    """Round values from 0 to the highest or just beyond.

    Args:
        highest: Largest value of the axis.
        unit: So that they are round in what is shown.
        most: How many steps there may be.
    """
    scale, _ = _scale(highest, unit)
    rough = highest / scale / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each for each in ROUND_STEPS if each * power >= rough * (1 - 1e-9)) * power * scale
    return [index * step for index in range(math.ceil(highest / step - 1e-9) + 1)]


def _scale(value: float, unit: str) -> tuple[float, str]:
    if unit.startswith(SUFFIX):
        end = unit.removeprefix(SUFFIX)
        scales = tuple((scale, f"{name}{end}") for scale, name in METRIC)
    else:
        scales = SCALES.get(unit, METRIC)
    if not value:
        # A second, a byte: not the smallest there is.
        return next((each for each in scales if each[0] == 1.0), scales[-1])
    return next((each for each in scales if value >= each[0]), scales[-1])
