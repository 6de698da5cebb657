"""The Prometheus operator gets the rules that Prometheus gets, and scrapes under the same name."""

from pathlib import Path

import yaml

from deploy.prometheus.generate import DEPLOY, FILE, prometheus_rule

RULES = DEPLOY / "prometheus/rules"


def test_it_is_written_anew_after_every_change() -> None:
    made = prometheus_rule(RULES)
    assert FILE.read_text(encoding="utf-8") == made, "run python -m deploy.prometheus.generate"


def test_every_group_is_there_as_it_is_written() -> None:
    documents = [yaml.safe_load(file.read_text()) for file in sorted(RULES.glob("*.yml"))]
    groups = [group for document in documents for group in document["groups"]]
    assert len(groups) == 2
    assert yaml.safe_load(FILE.read_text())["spec"] == {"groups": groups}


def test_a_comment_on_a_rule_is_kept(tmp_path: Path) -> None:
    rule = "  - name: g\n    rules:\n      # Why.\n      - {record: a, expr: b}\n"
    (tmp_path / "a.yml").write_text(f"# About the file.\ngroups:\n{rule}")
    made = prometheus_rule(tmp_path)
    assert "        # Why.\n" in made
    assert "About" not in made


def test_the_job_that_rules_ask_for_is_the_one_that_is_scraped() -> None:
    assert 'job="dvd"' in FILE.read_text()
    scraping = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    operated = yaml.safe_load((FILE.parent / "scrape-config.yaml").read_text())
    assert scraping["scrape_configs"][0]["job_name"] == "dvd"
    assert operated["spec"]["jobName"] == "dvd"
