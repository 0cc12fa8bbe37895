"""NAME: pods must have labels."""

import functools
import io
import json
import sys
import traceback
from dataclasses import fields

from componentize_py_types import Err
from wit_world.exports import check
from wit_world.exports.check import Info, Stage
from wit_world.imports import log
from wit_world.imports.types import Finding, Severity

INFO = Info(
    id="NAME",
    title="Pod has no required label",
    description="A pod without one of the labels in the settings.",
    rationale="The label names the team that is responsible.",
    remedy="Add the label to the pod template.",
    stage=Stage.SPEC,
    severity=Severity.MEDIUM,
    weight=3,
    settings_schema=json.dumps(
        {
            "type": "object",
            "properties": {"labels": {"type": "array", "items": {"type": "string"}}},
            "additionalProperties": False,
        }
    ),
    default_settings=json.dumps({"labels": ["team"]}),
    needs_annotations=False,
    remediates=False,
    url=None,
)


def logged(call):
    """Logs an exception, because the host sees only that one ends the call. `Err` is an answer."""

    @functools.wraps(call)
    def wrapper(*values):
        try:
            return call(*values)
        except Err:
            raise
        except BaseException as error:
            # A traceback would read this file, which a component cannot.
            *_, (frame, line) = traceback.walk_tb(error.__traceback__)
            place = f"line {line} of {frame.f_code.co_filename}"
            log.log(log.Level.ERROR, f"{type(error).__name__} in {place}: {error}")
            raise

    return wrapper


# A check with settings.
class Rule(check.Rule):
    @classmethod
    @logged
    def create(cls, check, settings):
        rule = cls()
        parsed = json.loads(settings)
        # A misspelt setting must not be ignored.
        if not isinstance(parsed, dict) or parsed.keys() - {"labels"}:
            raise Err("the only setting is labels")
        rule.labels = parsed.get("labels")
        if not isinstance(rule.labels, list) or not all(isinstance(label, str) for label in rule.labels):
            raise Err("labels must be a list of strings")
        return rule

    def findings(self, subject):
        names = {key for key, _ in subject.labels}
        return [f"has no label {label}" for label in self.labels if label not in names]

    def remediate(self, subject):
        return []


class Check:
    @logged
    def describe(self):
        return [typed(INFO)]

    # The indices of the rule and of the subject tell the host what a finding is about.
    @logged
    def evaluate(self, rules, subjects):
        return [
            typed(Finding(rule, subject, container=None, field=None, message=message, magnitude=1))
            for rule, current in enumerate(rules)
            for subject, pod in enumerate(subjects)
            for message in current.findings(pod)
        ]


def typed(record):
    """Names a field of a wrong type. Without it, the call would end later, and without a text."""
    for field in fields(record):
        value = getattr(record, field.name)
        if not isinstance(value, field.type):
            raise TypeError(f"{type(record).__name__}.{field.name} is {value!r}, which has the wrong type")
    return record


class Log(io.TextIOBase):
    """Writes what is printed to the log: a component has no standard output."""

    def __init__(self):
        self.line = ""

    def write(self, text):
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            log.log(log.Level.WARN, line)
        return len(text)


# At the end, so that errors of this file itself are shown by the build.
sys.stdout = sys.stderr = Log()
