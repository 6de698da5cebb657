"""Writes the rules of `rules/` as a PrometheusRule, for the Prometheus operator to read.

    python -m deploy.prometheus.generate

Kustomize makes ConfigMaps of files, and of nothing else it can make this. The file is committed, so
that an operator needs no Python; a test compares it with what this makes.
"""

import textwrap
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[1]
FILE = DEPLOY / "kubernetes/components/monitoring/prometheus-rule.yaml"
HEAD = """# Made of deploy/prometheus/rules by `python -m deploy.prometheus.generate`; change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: dvd
  namespace: dvd
spec:
  groups:
"""


def prometheus_rule(rules: Path) -> str:
    """The whole resource; groups are taken over as text, with their comments.

    Args:
        rules: Folder of rule files.
    """
    texts = (file.read_text(encoding="utf-8") for file in sorted(rules.glob("*.yml")))
    groups = (text.partition("\ngroups:\n")[2] for text in texts)
    return HEAD + "".join(textwrap.indent(group, "  ") for group in groups)


def main() -> None:
    """Write the file."""
    FILE.write_text(prometheus_rule(DEPLOY / "prometheus/rules"), encoding="utf-8")


if __name__ == "__main__":
    main()
