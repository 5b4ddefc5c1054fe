"""The table of a fault report, in Markdown:  fault_table.py REPORT [DOCUMENT]

REPORT is the `fault-report.json` that the fault tests write. With DOCUMENT the table replaces what
stands there between the two marks; no figure in it is typed by hand. Exit 1 if there is none.

fault_table.py REPORT --gather LOG COMMIT  adds what the store's own tests printed: lines with
`FAULT {figures}`; the figures of one fault are added up.
"""

import json
import re
import sys
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
# Shown in columns of their own, or not figures.
COLUMNS = ("what", "acknowledged", "violations", "seconds", "commit", "seed")


def figures(row: dict) -> str:
    """Everything that has no column."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in row.items() if key not in COLUMNS)


def violations(row: dict) -> str:
    found = row.get("violations")
    if found is None:
        return "-"
    return f"**{sum(found.values())}**"


def table(report: dict) -> str:
    rows = sorted(report.items(), key=lambda item: (len(item[0].split()[0]), item[0]))
    lines = ["| fault | what | acknowledged | violations | figures | seed | seconds | commit |",
             "|---|---|---|---|---|---|---|---|"]
    for fault, row in rows:
        if "caught" not in row:
            lines.append(f"| {fault} | {row['what']} | {row.get('acknowledged', '-')} | {violations(row)} "
                         f"| {figures(row)} | {row.get('seed', '-')} | {row.get('seconds', '-')} | {row['commit']} |")
    caught = [f"| {bug.removeprefix('planted ')} | {row['caught']} | {row['seconds']} | {row['commit']} |"
              for bug, row in rows if "caught" in row]
    if caught:
        lines += ["", "| planted bug | the test's complaint | seconds | commit |", "|---|---|---|---|", *caught]
    return "\n".join(lines)


def gather(report: dict, log: str, commit: str) -> dict:
    for fault, text in re.findall(r"\b(F\d+) (\{.*\})", log):
        row, found = report.setdefault(fault, {"commit": commit}), json.loads(text)
        for key, value in found.items():
            row[key] = row.get(key, 0) + value if isinstance(value, int) else value
    return report


def main() -> int:
    report = json.loads(Path(sys.argv[1]).read_text())
    if sys.argv[2:3] == ["--gather"]:
        report = gather(report, Path(sys.argv[3]).read_text(), sys.argv[4])
        Path(sys.argv[1]).write_text(json.dumps(report, indent=2) + "\n")
        return 0
    if not report:
        print("the report is empty")
        return 1
    shown = table(report)
    print(shown)
    if len(sys.argv) > 2:
        document = Path(sys.argv[2])
        before, begin, rest = document.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            print(f"{document} lacks {BEGIN} or {END}")
            return 1
        document.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
