//! `deploy/`: the chart, rendered for kubectl and Kustomize.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{CHART, Files, Helm};

/// Where the operator for a whole cluster runs, and its release's name.
const NAMESPACE: &str = "auth0-rotator";
/// The namespace of the examples.
const SHOP: &str = "shop";

/// What only Helm has a use for.
const HELMS: [&str; 2] = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: "];

/// Templates whose objects depend on where the operator works, or are a matter of choice.
const RBAC: &str = "rbac.yaml";
const DEFINITIONS: &str = "crds.yaml";
const MONITORING: [&str; 3] = ["dashboard.yaml", "prometheusrule.yaml", "servicemonitor.yaml"];

const WRITTEN: &str = "# Written from charts/auth0-rotator by make manifests.\n";

/// The objects of each template, by the template's file name, as YAML documents.
type Rendering = BTreeMap<String, Vec<String>>;

/// All files that are written in `deploy/`.
pub(crate) fn manifests(checkout: &Path, helm: &Helm) -> Result<Files> {
    let chart = checkout.join(CHART);
    let render = |namespace: &str, sets: &[&str]| -> Result<Rendering> {
        let sets = [&["crds.keep=false"], sets].concat();
        documents(&helm.template(&chart, namespace, &sets)?)
    };
    let cluster = render(NAMESPACE, &[])?;
    let namespaced = render(SHOP, &["scope=namespaced"])?;
    // In the base's namespace, like the account: only then does Kustomize move both together.
    let roles_of_one = render(NAMESPACE, &["scope=namespaced"])?;
    let monitored = render(
        NAMESPACE,
        &[
            "monitoring.serviceMonitor.enabled=true",
            "monitoring.prometheusRule.enabled=true",
            "monitoring.dashboard.enabled=true",
        ],
    )?;

    let mut files = Files::new();
    let mut file = |path: &str, head: &str, documents: &[&String]| {
        let documents: Vec<_> = documents.iter().map(|document| document.as_str()).collect();
        let text = format!("{WRITTEN}{head}{}", documents.join("---\n"));
        files.insert(Path::new("deploy").join(path), text);
    };
    for (template, documents) in cluster.iter().filter(|(template, _)| *template != RBAC) {
        file(&format!("base/{template}"), "", &documents.iter().collect::<Vec<_>>());
    }
    let own = namespace();
    file("overlays/cluster-wide/namespace.yaml", "", &[&own]);
    for (overlay, rendering) in [("cluster-wide", &cluster), ("one-namespace", &roles_of_one)] {
        let roles = rendering.get(RBAC).context("the chart renders no roles")?;
        let path = format!("overlays/{overlay}/{RBAC}");
        file(&path, "", &roles.iter().collect::<Vec<_>>());
    }
    for template in MONITORING {
        let documents = monitored.get(template).with_context(|| format!("no {template}"))?;
        let path = format!("overlays/with-monitoring/{template}");
        file(&path, "", &documents.iter().collect::<Vec<_>>());
    }
    let all: Vec<_> = [&own].into_iter().chain(ordered(&cluster, true)).collect();
    file("install.yaml", ALL, &all);
    let without: Vec<_> = [&own].into_iter().chain(ordered(&cluster, false)).collect();
    file("operator.yaml", CLUSTER, &without);
    file("namespaced.yaml", ONE, &ordered(&namespaced, false));
    Ok(files)
}

const ALL: &str = "# The custom resource definitions, and the operator for a whole cluster.
#
#   kubectl apply --server-side -f deploy/install.yaml
";
const CLUSTER: &str = "# The operator for a whole cluster: namespace, permissions, two replicas.
# Install the custom resource definitions first: kubectl apply -f crds/
";
const ONE: &str =
    "# The operator for one namespace, here shop, in which it runs too. For another one:
#
#   sed 's/namespace: shop$/namespace: mine/' deploy/namespaced.yaml | kubectl apply -f -
#
# Install the custom resource definitions first: kubectl apply -f crds/
";

/// The namespace of the operator, which Helm would make by itself.
fn namespace() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    \
         app.kubernetes.io/name: auth0-rotator\n    pod-security.kubernetes.io/enforce: restricted\n"
    )
}

/// The documents in an order in which they can be applied: definitions and accounts first.
fn ordered(rendering: &Rendering, with_definitions: bool) -> Vec<&String> {
    let rank = |template: &str| match template {
        DEFINITIONS => 0,
        "serviceaccount.yaml" => 1,
        RBAC => 2,
        "deployment.yaml" => 4,
        _ => 3,
    };
    let mut templates: Vec<_> = rendering
        .iter()
        .filter(|(template, _)| with_definitions || template.as_str() != DEFINITIONS)
        .collect();
    templates.sort_by_key(|(template, _)| rank(template));
    templates.into_iter().flat_map(|(_, documents)| documents).collect()
}

/// Takes Helm's output apart.
fn documents(rendered: &str) -> Result<Rendering> {
    let mut rendering = Rendering::new();
    for document in rendered.split("---\n# Source: ").skip(1) {
        let (source, text) = document.split_once('\n').context("a document has no source")?;
        let template = source.rsplit('/').next().unwrap_or_default().to_owned();
        let is_for_others =
            |line: &&str| !HELMS.iter().any(|helms| line.trim_start().starts_with(helms));
        let lines: Vec<_> = text.trim_end().lines().filter(is_for_others).collect();
        rendering.entry(template).or_default().push(lines.join("\n") + "\n");
    }
    Ok(rendering)
}
