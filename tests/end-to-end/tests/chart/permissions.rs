//! The roles of the chart contain exactly the permissions of the components.

use std::collections::BTreeSet;

use anyhow::Result;
use end_to_end::helm::{documents, find, template};
use kube_devops_cluster::permissions::{Component, ObjectNames, rules};
use serde_json::Value;

/// A group, a resource, a verb, and the name of the object.
type Permission = (String, String, String, Option<String>);

fn permissions(rules: &[Value]) -> BTreeSet<Permission> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut permissions = BTreeSet::new();
    for rule in rules {
        let names = texts(rule, "resourceNames").into_iter().map(Some);
        let names: Vec<_> = if rule["resourceNames"].is_null() { vec![None] } else { names.collect() };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    permissions
                        .extend(names.iter().map(|name| (group.clone(), resource.clone(), verb.clone(), name.clone())));
                }
            }
        }
    }
    permissions
}

#[test]
fn roles_grant_exactly_the_permissions_of_their_component() -> Result<()> {
    let rendered = documents(&template(&["--set", "fullnameOverride=platform"])?)?;
    let names = ObjectNames::with_prefix("platform");
    let expected = |component, own_namespace| -> BTreeSet<Permission> {
        let rules: Vec<Value> =
            rules(component, own_namespace, &names).iter().map(|rule| serde_json::to_value(rule).unwrap()).collect();
        permissions(&rules)
    };
    let components = [
        ("watch", Component::Watch),
        ("reconcile", Component::Reconcile),
        ("remediation", Component::Remediate),
        ("webhook", Component::Webhook),
        ("crd-upgrade", Component::Install),
        ("cleanup", Component::Cleanup),
    ];
    for (suffix, component) in components {
        let name = format!("platform-{suffix}");
        for (kind, own_namespace) in [("ClusterRole", false), ("Role", true)] {
            let granted = find(&rendered, kind, &name)
                .map_or_else(|_| BTreeSet::new(), |role| permissions(role["rules"].as_array().unwrap()));
            assert_eq!(granted, expected(component, own_namespace), "{kind} {name}");
        }
    }
    Ok(())
}

#[test]
fn remediation_is_a_separate_role_that_can_be_disabled() -> Result<()> {
    let rendered = documents(&template(&["--set", "reconcile.remediation.enabled=false"])?)?;
    assert!(find(&rendered, "ClusterRole", "kube-devops-remediation").is_err());
    assert!(find(&rendered, "ClusterRoleBinding", "kube-devops-remediation").is_err());
    assert!(find(&rendered, "ClusterRole", "kube-devops-reconcile").is_ok());
    Ok(())
}

#[test]
fn without_roles_there_are_no_hooks_which_would_need_them() -> Result<()> {
    let with = documents(&template(&[])?)?;
    let without = documents(&template(&["--set", "rbac.create=false"])?)?;
    let is_role = |object: &Value| object["apiVersion"] == "rbac.authorization.k8s.io/v1";
    let is_hook = |object: &Value| !object["metadata"]["annotations"]["helm.sh/hook"].is_null();
    assert!(!without.iter().any(|object| is_role(object) || is_hook(object)));
    let others = with.iter().filter(|object| !is_role(object) && !is_hook(object));
    assert_eq!(others.collect::<Vec<_>>(), without.iter().collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_provided_certificate_needs_no_permission_to_write() -> Result<()> {
    let rendered = documents(&template(&["--set", "webhook.certificate.source=cert-manager"])?)?;
    for kind in ["Role", "ClusterRole"] {
        let role = find(&rendered, kind, "kube-devops-webhook")?;
        let verbs = permissions(role["rules"].as_array().unwrap()).into_iter().map(|(_, _, verb, _)| verb);
        let unexpected: Vec<_> = verbs.filter(|verb| !["get", "list", "watch"].contains(&verb.as_str())).collect();
        assert_eq!(unexpected, Vec::<String>::new(), "{kind}");
    }
    Ok(())
}

#[test]
fn readers_of_a_namespace_may_read_its_policies_unless_it_is_disabled() -> Result<()> {
    let role = find(&documents(&template(&[])?)?, "ClusterRole", "kube-devops-view")?.clone();
    assert_eq!(role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"], "true");
    let granted = permissions(role["rules"].as_array().unwrap());
    let resources: BTreeSet<&str> = granted.iter().map(|(_, resource, ..)| resource.as_str()).collect();
    let defined = kube_devops_cluster::crd::definitions();
    assert_eq!(resources, defined.iter().map(|defined| defined.spec.names.plural.as_str()).collect());
    let verbs: BTreeSet<&str> = granted.iter().map(|(_, _, verb, _)| verb.as_str()).collect();
    assert_eq!(verbs, ["get", "list", "watch"].into());
    let disabled = documents(&template(&["--set", "rbac.aggregateToView=false"])?)?;
    assert!(find(&disabled, "ClusterRole", "kube-devops-view").is_err());
    Ok(())
}
