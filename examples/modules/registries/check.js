// registries: images must come from the registries in the settings.
import log from "devops:policy/log@0.2.0";

const info = {
  id: "registries",
  title: "Image comes from another registry",
  description: "An image whose registry is not in the settings. Without a registry, it is docker.io.",
  rationale: "Images of other registries are neither scanned nor mirrored.",
  remedy: "Push the image to a registry of the list, and refer to it there.",
  stage: "spec",
  severity: "high",
  weight: 5,
  settingsSchema: JSON.stringify({
    type: "object",
    properties: { allowed: { type: "array", items: { type: "string" } } },
    additionalProperties: false,
  }),
  defaultSettings: JSON.stringify({ allowed: ["registry.example.com"] }),
  needsAnnotations: false,
  remediates: false,
  url: "https://kubernetes.io/docs/concepts/containers/images/",
};

// The first part of a reference is a registry if it contains a dot or a colon, or is localhost.
function registryOf(image) {
  const slash = image.indexOf("/");
  const first = slash < 0 ? "" : image.slice(0, slash);
  return first.includes(".") || first.includes(":") || first === "localhost" ? first : "docker.io";
}

class Rule {
  static create(check, settings) {
    const { allowed, ...unknown } = JSON.parse(settings);
    // A misspelt setting must not be ignored.
    if (Object.keys(unknown).length > 0) throw `unknown settings: ${Object.keys(unknown)}`;
    const isList = Array.isArray(allowed) && allowed.every((registry) => typeof registry === "string");
    if (!isList || allowed.length === 0) throw "allowed must be a list with at least one registry";
    const rule = new Rule();
    rule.allowed = new Set(allowed);
    return rule;
  }

  remediate(subject) {
    return [];
  }
}

function evaluate(rules, subjects) {
  const findings = [];
  rules.forEach(({ allowed }, rule) =>
    subjects.forEach((pod, subject) =>
      pod.containers.forEach(({ image }, container) => {
        const registry = registryOf(image);
        if (!allowed.has(registry)) {
          findings.push({ rule, subject, container, field: "/image", message: `image comes from ${registry}`, magnitude: 1 });
        }
      }),
    ),
  );
  return findings;
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
