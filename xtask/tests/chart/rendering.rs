//! The API server accepts what the chart renders, for many combinations of values.

use std::{fs, io::Write as _, process::Stdio};

use local_cluster::GoModule;
use tempfile::TempDir;
use xtask::{Helm, workspace_root};

use crate::cluster::{Cluster, chart, parse_objects};

/// Source of the CRDs of ServiceMonitor and PrometheusRule.
const PROMETHEUS_OPERATOR: GoModule = GoModule {
    path: "github.com/prometheus-operator/prometheus-operator",
    version: "v0.85.0",
    sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};

/// Namespace of the release.
const RELEASE_NAMESPACE: &str = "auth0-rotator";

/// Name of each case, and its values.
const CASES: &[(&str, &str)] = &[
    ("defaults", "{}"),
    ("namespace of the release", "scope: namespaced"),
    ("several namespaces", "{scope: namespaced, namespaces: [shop, pay]}"),
    ("Secrets of selected namespaces", "{scope: selected, namespaces: [shop, pay]}"),
    ("Secrets of the release's namespace", "scope: selected"),
    ("namespaces with cluster tenants", "{scope: namespaced, namespaces: [shop], clusterTenants: true}"),
    (
        "no restarts, no Pod detection, no roles for users",
        "{restarts: {enabled: false}, podDetection: {enabled: false}, rbac: {aggregate: false}}",
    ),
    ("a shard", "watchLabelSelector: auth0-rotator.dev/shard in (a,b),!team"),
    ("metrics for everyone", "metrics: {auth: false}"),
    (
        "metrics with a certificate",
        "metrics: {auth: true, tlsSecret: metrics-tls}
scope: namespaced
monitoring: {serviceMonitor: {enabled: true, tlsConfig: {ca: {secret: {name: ca, key: ca.crt}}}}}",
    ),
    ("one replica", "{replicas: 1, podDisruptionBudget: {enabled: false}}"),
    ("no replica", "replicas: 0"),
    ("image by tag", "image: {repository: registry.example:5000/team/rotator, tag: 1.2.3}"),
    (
        "image by digest, with registry credentials",
        "image:
  repository: registry.example/rotator
  tag: ignored
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullPolicy: Always
imagePullSecrets: [{name: registry}]",
    ),
    (
        "labels and annotations",
        "labels: {team: shop, example.com/cost: '7'}
annotations: {example.com/owner: shop}
podLabels: {team: other, mesh: on-board}
podAnnotations: {example.com/note: 'of all kinds: 7'}",
    ),
    (
        "existing permissions and service account",
        "{rbac: {create: false}, serviceAccount: {create: false, name: rotator}}",
    ),
    (
        "service account with annotations",
        "serviceAccount: {name: own, annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1'}}",
    ),
    ("no admission policies", "admissionPolicy: {enabled: false}"),
    ("allowed metadata", "allowedMetadata: [team, example.com/, app.kubernetes.io/part-of]"),
    ("CRDs not installed", "crds: {install: false}"),
    ("CRDs not kept", "crds: {keep: false}"),
    ("user chosen by the cluster", "runAsUser: null"),
    ("IPv4 only, other ports", "listen: {address: 0.0.0.0, metricsPort: 9090, healthPort: 9091}"),
    (
        "egress through a proxy",
        "extraEnv:
- {name: HTTPS_PROXY, value: 'http://proxy.example:3128'}
- {name: NO_PROXY, value: 'kubernetes.default.svc'}
- {name: TOKEN, valueFrom: {secretKeyRef: {name: proxy, key: token, optional: true}}}
networkPolicy:
  egressPorts: [443, 6443, 3128]
  extraEgress:
  - {ports: [{port: 4318}], to: [{namespaceSelector: {matchLabels: {name: otel}}}]}",
    ),
    (
        "metrics restricted to Prometheus",
        "networkPolicy:
  metricsFrom:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
    podSelector: {matchExpressions: [{key: app, operator: In, values: [prometheus]}]}
  - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}",
    ),
    ("no network policy, no spread", "{networkPolicy: {enabled: false}, topologySpread: {enabled: false}}"),
    (
        "scheduling constraints",
        "priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Equal, value: platform, effect: NoSchedule}]
topologySpread: {whenUnsatisfiable: DoNotSchedule, keys: [kubernetes.io/hostname]}
podDisruptionBudget: {maxUnavailable: 50%}
resources: {requests: {cpu: 0.1, memory: 64Mi}, limits: {cpu: '1', memory: 1Gi, ephemeral-storage: 10M}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [amd64]}]}]
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 50
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector: {matchLabels: {app: greedy}}",
    ),
    (
        "monitoring",
        "monitoring:
  otlpEndpoint: http://otel-collector.monitoring:4318
  serviceMonitor: {enabled: true, interval: 15s, scrapeTimeout: 5s, labels: {release: prometheus}}
  prometheusRule: {enabled: true, labels: {release: prometheus}}
  dashboard: {enabled: true, annotations: {grafana_folder: Security}}",
    ),
    ("name overrides", "{fullnameOverride: rotation, nameOverride: rotator}"),
    (
        "allowed endpoints",
        "allowedEndpoints: ['*.auth0.com', login.acme.com, '10.0.0.7:8443', '[fd00::7]:*']",
    ),
    ("simulator", "simulator: {allowHttpEndpoints: true, propagationWindow: 2s}"),
    ("text logs at debug level", "{log: {level: debug, format: text}, concurrency: 64}"),
    (
        "many values at once",
        "scope: namespaced
namespaces: [shop]
replicas: 3
labels: {team: shop}
monitoring:
  serviceMonitor: {enabled: true}
  prometheusRule: {enabled: true}
  dashboard: {enabled: true}
simulator: {allowHttpEndpoints: true}
extraEnv: [{name: NO_PROXY, value: '*'}]
crds: {adopt: true, keep: false}
global: {anything: goes}
enabled: true",
    ),
];

#[tokio::test]
async fn api_server_accepts_every_rendering() {
    let cluster = Cluster::start().await;
    let crds = PROMETHEUS_OPERATOR.fetch().unwrap().join("example/prometheus-operator-crd");
    for kind in ["servicemonitors", "prometheusrules"] {
        let path = crds.join(format!("monitoring.coreos.com_{kind}.yaml"));
        cluster.kubectl(&["apply", "--server-side", "-f", path.to_str().unwrap()]);
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    for namespace in [RELEASE_NAMESPACE, "shop", "pay"] {
        cluster.kubectl(&["create", "namespace", namespace]);
        // Makes the API server warn about a Deployment whose Pods violate the standard.
        let restricted = "pod-security.kubernetes.io/warn=restricted";
        cluster.kubectl(&["label", "namespace", namespace, restricted]);
    }
    let helm = Helm::find_or_build().unwrap();
    let mut object_count = 0;
    for (name, values) in CASES {
        let rendered = render(&helm, values);
        object_count += parse_objects(&rendered).len();
        assert_accepted(&cluster, name, &rendered);
    }
    let install = fs::read_to_string(workspace_root().join("deploy/install.yaml")).unwrap();
    assert_accepted(&cluster, "deploy/install.yaml", &install);
    println!("{} renderings accepted, {object_count} objects", CASES.len());
}

fn render(helm: &Helm, values: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("values.yaml");
    fs::write(&path, values).unwrap();
    let mut command = helm.command(folder.path());
    // Without --skip-tests, because the API server must accept the test Pod as well.
    command.args(["template", "auth0-rotator", "--namespace", RELEASE_NAMESPACE, "--values"]);
    let output = command.arg(&path).arg(chart()).output().unwrap();
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asserts that the API server accepts all objects without a warning.
fn assert_accepted(cluster: &Cluster, name: &str, rendered: &str) {
    let mut command = cluster.kubectl_command();
    command.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    assert!(!stderr.contains("Warning"), "{name}: {stderr}");
    let accepted = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(accepted, parse_objects(rendered).len(), "{name}");
}

#[test]
fn digest_takes_precedence_over_tag() {
    let helm = Helm::find_or_build().unwrap();
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (sets, image) in [
        (vec![], "auth0-rotator:0.1.0".to_owned()),
        (vec!["image.tag=1.2.3"], "auth0-rotator:1.2.3".to_owned()),
        (
            vec!["image.tag=1.2.3", &format!("image.digest={digest}")],
            format!("auth0-rotator@{digest}"),
        ),
    ] {
        let rendered = helm.template(&chart(), RELEASE_NAMESPACE, &sets).unwrap();
        let objects = parse_objects(&rendered);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], image);
    }
}
