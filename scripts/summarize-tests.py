#!/usr/bin/env python3
"""Sums up the results of test.sh, test-programs.sh and test-hosts.sh: scripts/summarize-tests.py FOLDER

FOLDER/suites.tsv has a line for each step that ran: name, exit code, file of results. The file is JUnit XML, or TAP if its
name ends in .tap; "-" stands for a step that is one test by itself. Prints each skipped test with its reason and each failed test
with its message and output, and last the line "N passed, N failed" (", N skipped" if there are any). A step that broke without
naming a failed test is a failed test; where it left no results, the end of its output says why, if there is a file of the same name
with .txt at its end. The exit code is 1 if anything failed.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Iterator, List, Tuple

# outcome ("passed", "failed", "skipped"), name, message
Result = Tuple[str, str, str]


def of_junit(file: Path) -> Iterator[Result]:
    for suite in ElementTree.parse(file).getroot().iter("testsuite"):
        cases = suite.findall("testcase")
        for case in cases:
            name = case.get("name", "")
            if not name.startswith(case.get("classname", "")):
                name = f"{case.get('classname')}.{name}"
            skipped = case.find("skipped")
            faults = case.findall("failure") + case.findall("error")
            if faults:
                messages = ["\n".join(filter(None, [fault.get("message"), fault.text])) for fault in faults]
                messages += ["Output:\n" + output.text for output in case.findall("system-out") if output.text]
                yield "failed", name, "\n".join(messages)
            elif skipped is not None:
                yield "skipped", name, skipped.get("message") or skipped.text or "no reason given"
            else:
                yield "passed", name, ""
        # Faults outside any test, such as a fixture that cannot be disposed, are only counted by xunit.
        errors = int(suite.get("errors", "0")) - sum(1 for case in cases if case.find("error") is not None)
        for _ in range(errors):
            yield "failed", suite.get("name", ""), "something outside the tests failed; the output of the suite has it"


def of_tap(file: Path) -> Iterator[Result]:
    planned = None
    results: List[List[str]] = []
    for line in file.read_text(errors="replace").splitlines():
        plan = re.fullmatch(r"1\.\.(\d+)(?: # SKIP (.*))?", line)
        test = re.fullmatch(r"(not ok|ok) \d+ - (.*?)(?: # SKIP (.*))?", line)
        if plan:
            planned = int(plan[1])
            if plan[2]:
                yield "skipped", "all tests of the suite", plan[2]
        elif test:
            outcome = "skipped" if test[3] else "passed" if test[1] == "ok" else "failed"
            results.append([outcome, test[2], test[3] or ""])
        elif line.startswith("# ") and results:
            results[-1][2] += line[2:] + "\n"
    for outcome, name, message in results:
        yield outcome, name, message
    if planned != len(results):
        yield "failed", "the whole suite", f"{len(results)} tests reported where {planned} were planned: it ended early"


def of_suite(name: str, exit_code: int, file: str) -> Iterator[Result]:
    if file == "-":
        yield ("passed" if exit_code == 0 else "failed"), name, f"exit code {exit_code}; its output is above"
        return
    results: List[Result] = []
    try:
        results += of_tap(Path(file)) if file.endswith(".tap") else of_junit(Path(file))
    except (OSError, ElementTree.ParseError) as fault:
        output = Path(file).with_suffix(".txt")
        last = output.read_text(errors="replace").splitlines()[-20:] if output.exists() else []
        results.append(("failed", "the whole suite", "\n".join([f"left no readable results: {fault}; exit code {exit_code}", *last])))
    if not results:
        results.append(("failed", "the whole suite", "has no tests"))
    if exit_code != 0 and all(outcome != "failed" for outcome, _, _ in results):
        results.append(("failed", "the whole suite", f"ended with exit code {exit_code} though no test failed"))
    for outcome, test, message in results:
        yield outcome, f"{name}: {test}", message


def main() -> int:
    folder = Path(sys.argv[1])
    results: List[Result] = []
    for line in (folder / "suites.tsv").read_text().splitlines():
        name, exit_code, file = line.split("\t")
        results += of_suite(name, int(exit_code), file)
    named = {outcome: [result for result in results if result[0] == outcome] for outcome in ("passed", "failed", "skipped")}
    for _, test, message in named["skipped"]:
        print(f"SKIPPED {test}: {' '.join(message.split())}")
    for _, test, message in named["failed"]:
        print(f"FAILED  {test}")
        for text in message.rstrip().splitlines()[:100]:
            print(f"        {text}")
    summary = f"{len(named['passed'])} passed, {len(named['failed'])} failed"
    if named["skipped"]:
        summary += f", {len(named['skipped'])} skipped"
    print(summary)
    return 1 if named["failed"] or not named["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
