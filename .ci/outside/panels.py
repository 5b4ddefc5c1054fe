"""Executes every query of the dashboards: no error, nothing empty unless listed, not too many series."""

import json
import time
from pathlib import Path

from checks import Checks, Failed, expect
from house import Prometheus

MAX_SERIES = 1000


def substituted(expression: str) -> str:
    """As Grafana would write it: All everywhere, scraped each second."""
    for variable, value in (("$__rate_interval", "10s"), ("$__range", "60s"), ("$__interval", "5s"),
                            ("$job", ".+"), ("$project", ".+"), ("$topic", ".+"), ("$subscription", ".+")):
        expression = expression.replace(variable, value)
    expect("$" not in expression, f"a variable is left in {expression}")
    return expression


def execute(checks: Checks, prometheus: Prometheus, root: Path) -> None:
    """All targets and annotations as range queries over the last minute, all variables as label queries."""
    excused = json.loads((root / ".ci/dashboards.json").read_text(encoding="utf-8"))["empty_when_healthy"]
    problems, queries = [], 0
    now = time.time()
    for path in sorted((root / "dashboards/grafana/dashboards").rglob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            selector, _, label = variable["definition"].removeprefix("label_values(").rstrip(")").rpartition(", ")
            queries += 1
            found = prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": substituted(selector)})
            if not found:
                problems.append(f"{path.name}, variable {variable['name']}: no value")
        wanted = [(f"{panel['title']}: {target['legendFormat']}", target["expr"])
                  for panel in dashboard["panels"] for target in panel.get("targets", [])]
        # Of annotations only that they are lawful: nothing fires in a healthy system.
        notes = {f"annotation {note['name']}": note["expr"] for note in dashboard["annotations"]["list"]}
        wanted += notes.items()
        for name, expression in wanted:
            queries += 1
            try:
                found = prometheus.get("/api/v1/query_range", query=substituted(expression), start=now - 60, end=now,
                                       step=5)["result"]
            except Failed as error:
                problems.append(f"{path.name}, {name}: {error}")
                continue
            if not found and name not in excused and name not in notes:
                problems.append(f"{path.name}, {name}: empty: {expression}")
            if len(found) > MAX_SERIES:
                problems.append(f"{path.name}, {name}: {len(found)} series")
    checks.figure("dashboard queries", queries)
    expect(not problems, "\n        ".join([f"{len(problems)} of {queries} queries", *problems]))
