//! The values schema rejects invalid values, and the error names them.

use tempfile::TempDir;
use xtask::Helm;

use crate::cluster::chart;

#[test]
fn chart_passes_helm_lint() {
    let home = TempDir::new().unwrap();
    let mut command = Helm::find_or_build().unwrap().command(home.path());
    let output = command.args(["lint", "--strict"]).arg(chart()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
}

/// Argument of `--set`, and the part of the error that names the value.
const INVALID: &[(&str, &str)] = &[
    // Unknown keys, at every depth.
    ("replicaCount=2", "replicaCount"),
    ("image.name=x", "/image"),
    ("crds.enabled=true", "/crds"),
    ("resources.requests.mem=1Gi", "/resources/requests"),
    ("monitoring.serviceMonitor.intervall=1m", "/monitoring/serviceMonitor"),
    ("networkPolicy.extraEgress[0].from=x", "/networkPolicy/extraEgress/0"),
    ("affinity.nodeAfinity.x=1", "/affinity"),
    // Wrong types.
    ("replicas=two", "/replicas"),
    ("replicas=true", "/replicas"),
    ("namespaces=shop", "/namespaces"),
    ("crds.install=yes-please", "/crds/install"),
    ("labels.a=1", "/labels/a"),
    ("annotations.a.b=c", "/annotations/a"),
    ("image=auth0-rotator:0.1.0", "/image"),
    ("concurrency=8.5", "/concurrency"),
    ("networkPolicy.egressPorts=443", "/networkPolicy/egressPorts"),
    // Malformed or out of bounds.
    ("replicas=-1", "/replicas"),
    ("replicas=10", "/replicas"),
    ("concurrency=0", "/concurrency"),
    ("runAsUser=0", "/runAsUser"),
    ("scope=everywhere", "/scope"),
    ("namespaces={shop}", "/namespaces"),
    ("allowedMetadata={Example.com/}", "/allowedMetadata/0"),
    ("watchLabelSelector=shard>1", "/watchLabelSelector"),
    ("watchLabelSelector=true", "/watchLabelSelector"),
    ("allowedMetadata={*}", "/allowedMetadata/0"),
    ("allowedMetadata={auth0-rotator.dev/}", "/allowedMetadata/0"),
    ("admissionPolicy.enabled=maybe", "/admissionPolicy/enabled"),
    ("image.digest=sha256:abc", "/image/digest"),
    ("image.tag=-x", "/image/tag"),
    ("image.repository=https://registry.example/x y", "/image/repository"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("log.level=loud", "/log/level"),
    ("listen.metricsPort=80", "/listen/metricsPort"),
    ("listen.healthPort=65536", "/listen/healthPort"),
    ("networkPolicy.egressPorts={0}", "/networkPolicy/egressPorts/0"),
    ("resources.limits.memory=128MB", "/resources/limits/memory"),
    ("resources.requests.cpu=-10m", "/resources/requests/cpu"),
    ("monitoring.otlpEndpoint=collector:4318", "/monitoring/otlpEndpoint"),
    ("monitoring.serviceMonitor.interval=soon", "/monitoring/serviceMonitor/interval"),
    ("monitoring.serviceMonitor.scrapeTimeout=0s", "/monitoring/serviceMonitor/scrapeTimeout"),
    ("simulator.propagationWindow=30", "/simulator/propagationWindow"),
    ("allowedEndpoints=login.acme.com", "/allowedEndpoints"),
    ("allowedEndpoints={*}", "/allowedEndpoints/0"),
    ("allowedEndpoints={https://login.acme.com}", "/allowedEndpoints/0"),
    ("allowedEndpoints={login.acme.com:0}", "/allowedEndpoints/0"),
    ("allowedEndpoints={fd00::7}", "/allowedEndpoints/0"),
    ("podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable"),
    ("topologySpread.keys={}", "/topologySpread/keys"),
    ("serviceAccount.name=Operator", "/serviceAccount/name"),
    ("fullnameOverride=a.b", "/fullnameOverride"),
    ("priorityClassName=-", "/priorityClassName"),
    (r"labels.app\.kubernetes\.io/name=x", "invalid propertyName app.kubernetes.io/name"),
    (r"annotations.helm\.sh/resource-policy=x", "invalid propertyName helm.sh/resource-policy"),
    ("extraEnv[0].name=1X", "/extraEnv/0/name"),
    ("extraEnv[0].value=x", "/extraEnv/0"),
    ("tolerations[0].effect=Never", "/tolerations/0/effect"),
    ("networkPolicy.metricsFrom[0].ipBlock.cidr=here", "/networkPolicy/metricsFrom/0/ipBlock/cidr"),
];

#[test]
fn rejects_invalid_values_by_name() {
    let helm = Helm::find_or_build().unwrap();
    for (set, name) in INVALID {
        let result = helm.template(&chart(), "home", &[set]);
        let error = result.expect_err(&format!("{set} is accepted")).to_string();
        assert!(error.contains("values don't meet the specifications"), "{set}: {error}");
        assert!(error.replace('\'', "").contains(name), "{set}: {error} doesn't name {name}");
    }
    println!("{} invalid values rejected", INVALID.len());
}

#[test]
fn rejects_namespaces_with_cluster_scope() {
    let helm = Helm::find_or_build().unwrap();
    let error = helm.template(&chart(), "home", &["namespaces={shop}"]).unwrap_err().to_string();
    assert!(error.contains("namespaces"), "{error}");
    helm.template(&chart(), "home", &["scope=namespaced", "namespaces={shop}"]).unwrap();
}

#[test]
fn rejects_existing_service_account_without_name() {
    let helm = Helm::find_or_build().unwrap();
    let error = helm.template(&chart(), "home", &["serviceAccount.create=false"]).unwrap_err();
    assert!(error.to_string().contains("serviceAccount.name"), "{error}");
}
