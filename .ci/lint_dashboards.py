#!/usr/bin/env python3
"""Lints dashboards/ where no Grafana can be had.

The rule names are those of Grafana's dashboard-linter, so that the real one agrees later; the two
`instance` rules are left out because every panel aggregates over scrape targets. On top: every
metric used is spelt in telemetry/src/names.rs and every exposed one is used (or listed with a
reason in .ci/dashboards.json), every alert has a runbook, labels, annotations, and both a firing
and a silent unit test.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "dashboards"
TABLE = ("timeseries", "stat", "table", "state-timeline")
METRIC = re.compile(r"\bams_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\b(ams_[a-z0-9_]+|ALERTS)\b(\{[^}]*\})?")

problems: list[str] = []


def complain(rule: str, where: str, what: str) -> None:
    problems.append(f"{rule}: {where}: {what}")


def exposed_metrics() -> dict[str, str]:
    """Prometheus name -> Counter | Gauge, from the one table in the source."""
    source = (ROOT / "telemetry/src/names.rs").read_text(encoding="utf-8")
    reported = re.findall(r'= (Counter|Gauge) "[^"]*" "([^"]+)"', source)
    derived = re.findall(r'\(\s*"(ams_[a-z0-9_]+)",\s*Kind::(Counter|Gauge)', source)
    names = {name: kind for kind, name in reported} | dict(derived)
    if len(reported) < 20 or len(derived) < 10:
        complain("catalogue", "telemetry/src/names.rs", "its table could not be read")
    return names


def targets_of(panel: dict) -> list[dict]:
    return panel.get("targets", [])


def lint_expression(where: str, expr: str, metrics: dict[str, str], variables: set[str]) -> None:
    for name, selector in SELECTOR.findall(expr):
        if name != "ALERTS" and name not in metrics:
            complain("metric-exists", where, f"{name} is not in telemetry/src/names.rs")
        if 'job=~"$job"' not in (selector or ""):
            complain("target-job", where, f'{name} lacks job=~"$job"')
        kind = metrics.get(name, "Gauge")
        call = re.search(r"\b(rate|increase|irate)\(\s*" + name + r"\b", expr)
        if kind == "Counter" and not call:
            complain("target-counter-agg", where, f"counter {name} without rate or increase")
        if kind == "Gauge" and call:
            complain("target-counter-agg", where, f"rate of the gauge {name}")
    for window in re.findall(r"\[([^\]]+)\]", expr):
        if window != "$__rate_interval":
            complain("target-rate-interval", where, f"[{window}] instead of [$__rate_interval]")
    if re.search(r"\b(rate|increase)\(", expr) and not re.search(r"\bsum\b", expr):
        complain("target-counter-agg", where, "a counter is not aggregated with sum")
    if expr.count("(") != expr.count(")") or expr.count("{") != expr.count("}"):
        complain("target-promql", where, "unbalanced brackets")
    for used in re.findall(r"\$\{?([a-zA-Z_]+)\}?", expr):
        if not used.startswith("__") and used not in variables:
            complain("target-promql", where, f"unknown variable ${used}")


def lint_variables(where: str, dashboard: dict, metrics: dict[str, str]) -> set[str]:
    variables = {v["name"]: v for v in dashboard["templating"]["list"]}
    source = variables.get("datasource", {})
    if source.get("type") != "datasource" or source.get("query") != "prometheus":
        complain("template-datasource", where, "no variable `datasource` of type prometheus")
    if source.get("label") != "Data source":
        complain("template-datasource", where, "label is not `Data source`")
    for name in ("job", "project", "topic", "subscription"):
        if name not in variables:
            complain("template-job", where, f"no variable `{name}`")
    for name, variable in variables.items():
        if variable["type"] != "query":
            continue
        place = f"{where}, variable {name}"
        if variable.get("datasource", {}).get("uid") != "${datasource}":
            complain("template-datasource", place, "does not use ${datasource}")
        if variable.get("refresh") != 2:
            complain("template-on-time-change-reload", place, "refresh is not on time change (2)")
        if not variable.get("multi") or not variable.get("includeAll"):
            complain("template-job", place, "not multi with All")
        if variable.get("allValue") != ".+":
            complain("template-job", place, "allValue is not .+")
        query = re.fullmatch(r"label_values\(([a-z_0-9]+)(\{.*\})?, ([a-z_]+)\)", variable["definition"])
        if not query or variable["query"].get("query") != variable["definition"]:
            complain("template-label-promql", place, "not label_values(metric, label)")
        elif query[1] not in metrics:
            complain("metric-exists", place, f"{query[1]} is not in telemetry/src/names.rs")
    return set(variables)


def lint_dashboard(path: Path, metrics: dict[str, str], used: set[str], uids: dict[str, str]) -> None:
    where = path.name
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    uid = dashboard.get("uid", "")
    if not re.fullmatch(r"[a-z0-9-]{1,40}", uid) or uid in uids:
        complain("uid", where, f"`{uid}` is missing, malformed or that of {uids.get(uid)}")
    uids[uid] = where
    if dashboard.get("editable") is not False:
        complain("uneditable", where, "editable is not false")
    if "ams" not in dashboard.get("tags", []) or dashboard.get("refresh") != "30s":
        complain("conventions", where, "needs tag `ams` and refresh 30s")
    if not all(l.get("keepTime") and l.get("includeVars") for l in dashboard.get("links", [{}])):
        complain("conventions", where, "links by tag must keep time and variables")
    variables = lint_variables(where, dashboard, metrics)
    used |= set(METRIC.findall(json.dumps(dashboard["templating"])))
    ids: set[int] = set()
    titles: set[str] = set()
    for panel in dashboard["panels"]:
        place = f"{where}, panel `{panel.get('title', '')}`"
        if panel["id"] in ids:
            complain("uid", place, f"panel id {panel['id']} twice")
        ids.add(panel["id"])
        if panel["type"] == "row":
            titles = set()
            continue
        if panel["type"] not in TABLE:
            complain("conventions", place, f"unknown panel type {panel['type']}")
        if panel.get("title", "") in titles:
            complain("panel-title-description", place, "title twice in its row")
        titles.add(panel.get("title", ""))
        if panel.get("datasource", {}).get("uid") != "${datasource}":
            complain("panel-datasource", place, "does not use ${datasource}")
        if not panel.get("title") or not panel.get("description"):
            complain("panel-title-description", place, "needs a title and a description")
        if not panel["fieldConfig"]["defaults"].get("unit"):
            complain("panel-units", place, "no unit")
        if not targets_of(panel):
            complain("panel-no-targets", place, "no target")
        for target in targets_of(panel):
            if target.get("datasource", {}).get("uid") != "${datasource}":
                complain("panel-datasource", place, f"target {target['refId']} has another one")
            lint_expression(f"{place}, {target['refId']}", target["expr"], metrics, variables)
            used |= set(METRIC.findall(target["expr"]))
    for annotation in dashboard["annotations"]["list"]:
        lint_expression(f"{where}, annotation", annotation["expr"], metrics, variables)


def alerts_of(text: str) -> dict[str, str]:
    """Alert name -> its block of rules.yml. The file is ours, so its shape is known."""
    blocks = re.split(r"(?m)^ +- alert: ", text)[1:]
    return {block.split("\n", 1)[0].strip(): block for block in blocks}


def tests_of(text: str) -> dict[str, set[str]]:
    """Alert name -> {firing, silent}."""
    seen: dict[str, set[str]] = {}
    for name in re.findall(r"\{eval_time: [^,]+, alertname: (\w+)\}", text):
        seen.setdefault(name, set()).add("silent")
    for name in re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", text):
        seen.setdefault(name, set()).add("firing")
    return seen


def lint_rules(metrics: dict[str, str], used: set[str]) -> int:
    text = (DASHBOARDS / "prometheus/rules.yml").read_text(encoding="utf-8")
    tests = tests_of((DASHBOARDS / "prometheus/rules.test.yml").read_text(encoding="utf-8"))
    alerts = alerts_of(text)
    for name, block in alerts.items():
        where = f"rules.yml, {name}"
        if not re.fullmatch(r"Ams[A-Z][A-Za-z]+", name):
            complain("alert-name", where, "is not AmsCamelCase")
        if not re.search(r"labels: \{severity: (critical|warning|none)\}", block):
            complain("alert-severity", where, "no severity label")
        for annotation in ("summary:", "description:"):
            if annotation not in block:
                complain("alert-annotation", where, f"no {annotation}")
        runbook = f"dashboards/runbooks/{name}.md"
        if f"runbook_url: {runbook}" not in block or not (ROOT / runbook).is_file():
            complain("alert-runbook", where, f"{runbook} is not named or does not exist")
        expr = re.split(r"(?m)^ +(?:for|keep_firing_for|labels):", block)[0]
        for metric in METRIC.findall(re.sub(r"(?m)^ *#.*$", "", block)):
            if metric not in metrics:
                complain("metric-exists", where, f"{metric} is not in telemetry/src/names.rs")
        used |= set(METRIC.findall(expr))
        wanted = {"firing"} if name == "AmsWatchdog" else {"firing", "silent"}
        missing = wanted - tests.get(name, set())
        if missing:
            complain("alert-test", where, f"no {' or '.join(sorted(missing))} test")
    for path in sorted((DASHBOARDS / "runbooks").glob("*.md")):
        if path.stem not in alerts:
            complain("alert-runbook", path.name, "no such alert")
    for name in sorted(set(tests) - set(alerts)):
        complain("alert-test", name, "no such alert")
    return len(alerts)


def lint_mail_links(uids: dict[str, str]) -> None:
    """The dashboard that mails link to must exist."""
    for path in sorted((ROOT / "metrics-svc/src").rglob("*.rs")):
        for uid in re.findall(r"/d/([a-z0-9-]+)\?", path.read_text(encoding="utf-8")):
            if uid not in uids:
                complain("links", str(path.relative_to(ROOT)), f"no dashboard has the uid `{uid}`")


def main() -> int:
    metrics = exposed_metrics()
    lists = json.loads((ROOT / ".ci/dashboards.json").read_text(encoding="utf-8"))
    used: set[str] = set()
    uids: dict[str, str] = {}
    paths = sorted((DASHBOARDS / "grafana/dashboards").rglob("*.json"))
    for path in paths:
        lint_dashboard(path, metrics, used, uids)
    lint_mail_links(uids)
    alerts = lint_rules(metrics, used)
    unused = lists["unused_metrics"]
    for name in sorted(set(metrics) - used - set(unused)):
        complain("metric-used", name, "on no panel and in no rule, nor listed in .ci/dashboards.json")
    for name, reason in unused.items():
        if name in used or name not in metrics or not reason:
            complain("metric-used", name, "listed as unused without need or reason")
    labels = {
        f"{panel['title']}: {target['legendFormat']}"
        for path in paths
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in targets_of(panel)
    }
    for name in sorted(set(lists["empty_when_healthy"]) - labels):
        complain("empty-when-healthy", name, "no such panel and legend")
    for problem in problems:
        print(problem)
    print(f"{len(paths)} dashboards, {alerts} alerts, {len(metrics)} metrics: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
