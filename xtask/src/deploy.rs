//! `deploy/`: the chart, rendered for kubectl and Kustomize.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use crate::{CHART_DIR, GeneratedFiles, Helm};

/// Namespace of the cluster-wide operator.
const OPERATOR_NAMESPACE: &str = "auth0-rotator";
/// Namespace of the single-namespace operator, as in the examples.
const EXAMPLE_NAMESPACE: &str = "shop";

/// Labels that only Helm uses.
const HELM_LABELS: [&str; 2] = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: "];

const RBAC_TEMPLATE: &str = "rbac.yaml";
/// Its objects are cluster-scoped, as the CRDs are.
const POLICY_TEMPLATE: &str = "admissionpolicy.yaml";
const CRDS_TEMPLATE: &str = "crds.yaml";
const MONITORING_TEMPLATES: [&str; 3] =
    ["dashboard.yaml", "prometheusrule.yaml", "servicemonitor.yaml"];

const GENERATED: &str = "# Generated from charts/auth0-rotator by `make manifests`. DO NOT EDIT.\n";

const INSTALL_HEAD: &str = "# The custom resource definitions and the cluster-wide operator.
#
#   kubectl apply --server-side -f deploy/install.yaml
";
const OPERATOR_HEAD: &str =
    "# The cluster-wide operator: namespace, permissions and a Deployment of two replicas.
# Install the custom resource definitions first: kubectl apply -f crds/
";
const NAMESPACED_HEAD: &str =
    "# The operator for a single namespace, shop, in which it also runs. To use another namespace:
#
#   sed 's/namespace: shop$/namespace: mine/' deploy/namespaced.yaml | kubectl apply -f -
#
# It has no cluster-scoped objects. The custom resource definitions and the admission policies, which
# check the permissions of authors, are installed by a cluster administrator, for example with
#
#   kubectl apply -f crds/ -f deploy/overlays/cluster-wide/admissionpolicy.yaml
";

const SELECTED_HEAD: &str =
    "# The operator for the resources of all namespaces, with access to the Secrets of one, shop. To opt
# another namespace in, add it to the Deployment as --secret-namespace, and bind the ClusterRole there:
#
#   kubectl -n pay create rolebinding auth0-rotator-namespace-access \\
#     --clusterrole=auth0-rotator-namespace-access --serviceaccount=auth0-rotator:auth0-rotator
#
# Install the custom resource definitions first: kubectl apply -f crds/
";

/// YAML documents of each template, keyed by the template's file name.
type Rendering = BTreeMap<String, Vec<String>>;

/// Generates the manifests in `deploy/` from the chart as it is on disk.
///
/// # Errors
///
/// When Helm rejects the chart, or a template that `deploy/` needs renders nothing.
pub fn deploy_files(root: &Path, helm: &Helm) -> Result<GeneratedFiles> {
    let chart = Chart { helm, root };
    let cluster = chart.render(OPERATOR_NAMESPACE, &[])?;
    let namespaced = chart.render(
        EXAMPLE_NAMESPACE,
        &["scope=namespaced", "admissionPolicy.enabled=false", "crds.install=false"],
    )?;
    let selected = chart.render(OPERATOR_NAMESPACE, &["scope=selected", "namespaces={shop}"])?;

    let mut files = GeneratedFiles::new();
    let mut add = |path: &str, head: &str, documents: &[&str]| {
        let text = format!("{GENERATED}{head}{}", documents.join("---\n"));
        files.insert(Path::new("deploy").join(path), text);
    };
    for (template, documents) in &cluster {
        if template != RBAC_TEMPLATE && template != POLICY_TEMPLATE {
            add(&format!("base/{template}"), "", &as_strs(documents));
        }
    }

    let namespace = namespace_manifest();
    add("overlays/cluster-wide/namespace.yaml", "", &[&namespace]);
    add("overlays/cluster-wide/rbac.yaml", "", &documents_of(&cluster, RBAC_TEMPLATE)?);
    let policy = documents_of(&cluster, POLICY_TEMPLATE)?;
    add("overlays/cluster-wide/admissionpolicy.yaml", "", &policy);
    // Rendered in the namespace of the base, because Kustomize then moves the roles and the service
    // account to another namespace together.
    let movable = chart.render(OPERATOR_NAMESPACE, &["scope=namespaced"])?;
    add("overlays/one-namespace/rbac.yaml", "", &documents_of(&movable, RBAC_TEMPLATE)?);
    let monitored = chart.render(
        OPERATOR_NAMESPACE,
        &[
            "monitoring.serviceMonitor.enabled=true",
            "monitoring.prometheusRule.enabled=true",
            "monitoring.dashboard.enabled=true",
        ],
    )?;
    for template in MONITORING_TEMPLATES {
        let path = format!("overlays/with-monitoring/{template}");
        add(&path, "", &documents_of(&monitored, template)?);
    }

    let with_crds = [vec![namespace.as_str()], in_apply_order(&cluster, true)].concat();
    add("install.yaml", INSTALL_HEAD, &with_crds);
    let without_crds = [vec![namespace.as_str()], in_apply_order(&cluster, false)].concat();
    add("operator.yaml", OPERATOR_HEAD, &without_crds);
    let selected = [vec![namespace.as_str()], in_apply_order(&selected, false)].concat();
    add("selected.yaml", SELECTED_HEAD, &selected);
    add("namespaced.yaml", NAMESPACED_HEAD, &in_apply_order(&namespaced, false));
    Ok(files)
}

struct Chart<'a> {
    helm: &'a Helm,
    root: &'a Path,
}

impl Chart<'_> {
    fn render(&self, namespace: &str, sets: &[&str]) -> Result<Rendering> {
        // The annotation of crds.keep has a meaning for Helm only.
        let sets = [&["crds.keep=false"], sets].concat();
        split_documents(&self.helm.template(&self.root.join(CHART_DIR), namespace, &sets)?)
    }
}

/// The operator's namespace, which Helm creates with `--create-namespace`.
fn namespace_manifest() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {OPERATOR_NAMESPACE}\n  labels:\n    \
         app.kubernetes.io/name: auth0-rotator\n    pod-security.kubernetes.io/enforce: restricted\n"
    )
}

fn documents_of<'a>(rendering: &'a Rendering, template: &str) -> Result<Vec<&'a str>> {
    let documents =
        rendering.get(template).with_context(|| format!("the chart renders no {template}"))?;
    Ok(as_strs(documents))
}

fn as_strs(documents: &[String]) -> Vec<&str> {
    documents.iter().map(String::as_str).collect()
}

/// Orders the documents so that `kubectl apply` succeeds: CRDs and accounts come first.
fn in_apply_order(rendering: &Rendering, with_crds: bool) -> Vec<&str> {
    let rank = |template: &str| match template {
        CRDS_TEMPLATE => 0,
        "serviceaccount.yaml" => 1,
        RBAC_TEMPLATE => 2,
        "deployment.yaml" => 4,
        _ => 3,
    };
    let mut templates: Vec<_> = rendering
        .iter()
        .filter(|(template, _)| with_crds || template.as_str() != CRDS_TEMPLATE)
        .collect();
    templates.sort_by_key(|(template, _)| rank(template));
    templates.into_iter().flat_map(|(_, documents)| as_strs(documents)).collect()
}

/// Splits Helm's output by template, and removes the labels that only Helm uses.
fn split_documents(rendered: &str) -> Result<Rendering> {
    let mut rendering = Rendering::new();
    for document in rendered.split("---\n# Source: ").skip(1) {
        let (source, text) = document.split_once('\n').context("a document has no source")?;
        let template = source.rsplit('/').next().unwrap_or_default().to_owned();
        let lines: Vec<_> = text.trim_end().lines().filter(|line| !is_helm_label(line)).collect();
        rendering.entry(template).or_default().push(lines.join("\n") + "\n");
    }
    Ok(rendering)
}

fn is_helm_label(line: &str) -> bool {
    HELM_LABELS.iter().any(|label| line.trim_start().starts_with(label))
}
