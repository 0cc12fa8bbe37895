// NAME: pods must have labels.
import log from "devops:policy/log@0.2.0";

const info = {
  id: "NAME",
  title: "Pod has no required label",
  description: "A pod without one of the labels in the settings.",
  rationale: "The label names the team that is responsible.",
  remedy: "Add the label to the pod template.",
  stage: "spec",
  severity: "medium",
  weight: 3,
  settingsSchema: JSON.stringify({
    type: "object",
    properties: { labels: { type: "array", items: { type: "string" } } },
    additionalProperties: false,
  }),
  defaultSettings: JSON.stringify({ labels: ["team"] }),
  needsAnnotations: false,
  remediates: false,
  url: null,
};

// A check with settings.
class Rule {
  static create(check, settings) {
    const { labels, ...unknown } = JSON.parse(settings);
    // A misspelt setting must not be ignored.
    if (Object.keys(unknown).length > 0) throw `unknown settings: ${Object.keys(unknown)}`;
    if (!Array.isArray(labels) || labels.some((label) => typeof label !== "string")) throw "labels must be a list of strings";
    const rule = new Rule();
    rule.labels = labels;
    return rule;
  }

  findings(subject) {
    const names = new Set(subject.labels.map(([key]) => key));
    return this.labels.filter((label) => !names.has(label)).map((label) => `has no label ${label}`);
  }

  remediate(subject) {
    return [];
  }
}

// The indices of the rule and of the subject tell the host what a finding is about.
function evaluate(rules, subjects) {
  return rules.flatMap((current, rule) =>
    subjects.flatMap((pod, subject) =>
      current.findings(pod).map((message) => ({ rule, subject, container: null, field: null, message, magnitude: 1 })),
    ),
  );
}

// The host sees only that an exception ends the call, so its text is logged.
function logged(call) {
  return (...values) => {
    try {
      return call(...values);
    } catch (error) {
      log.log("error", `${error} ${error?.stack ?? ""}`);
      throw error;
    }
  };
}

export const check = { describe: logged(() => [info]), Rule, evaluate: logged(evaluate) };
