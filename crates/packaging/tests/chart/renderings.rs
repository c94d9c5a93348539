//! The API server accepts what the chart renders, whatever the values are.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use local_cluster::GoModule;
use packaging::{Helm, checkout};
use tempfile::TempDir;

use crate::cluster::{Cluster, chart, objects};

/// Where the definitions of ServiceMonitors and PrometheusRules come from.
const PROMETHEUS_OPERATOR: GoModule = GoModule {
    path: "github.com/prometheus-operator/prometheus-operator",
    version: "v0.85.0",
    sum: "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
};

/// The namespace of the release.
const HOME: &str = "auth0-rotator";

/// Values, each with a name for them.
const VALUES: &[(&str, &str)] = &[
    ("as it is", "{}"),
    ("one namespace, its own", "scope: namespaced"),
    ("several namespaces", "{scope: namespaced, namespaces: [shop, pay]}"),
    ("one replica", "{replicas: 1, podDisruptionBudget: {enabled: false}}"),
    ("no replica", "replicas: 0"),
    ("image by tag", "image: {repository: registry.example:5000/team/rotator, tag: 1.2.3}"),
    (
        "image by digest, with credentials of the registry",
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
        "permissions and account from elsewhere",
        "{rbac: {create: false}, serviceAccount: {create: false, name: rotator}}",
    ),
    (
        "account with annotations",
        "serviceAccount: {name: own, annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::1'}}",
    ),
    ("definitions from elsewhere", "crds: {install: false}"),
    ("definitions that go with it", "crds: {keep: false}"),
    ("user left to the cluster", "runAsUser: null"),
    ("IPv6, other ports", "listen: {address: '[::]', metricsPort: 9090, healthPort: 9091}"),
    (
        "through a proxy",
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
        "metrics for Prometheus alone",
        "networkPolicy:
  metricsFrom:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
    podSelector: {matchExpressions: [{key: app, operator: In, values: [prometheus]}]}
  - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}",
    ),
    ("no network policy, no spread", "{networkPolicy: {enabled: false}, topologySpread: {enabled: false}}"),
    (
        "placed with care",
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
        "monitored",
        "monitoring:
  otlpEndpoint: http://otel-collector.monitoring:4318
  serviceMonitor: {enabled: true, interval: 15s, scrapeTimeout: 5s, labels: {release: prometheus}}
  prometheusRule: {enabled: true, labels: {release: prometheus}}
  dashboard: {enabled: true, annotations: {grafana_folder: Security}}",
    ),
    ("names of one's own", "{fullnameOverride: rotation, nameOverride: rotator}"),
    ("a trial with the simulator", "simulator: {allowHttpEndpoints: true, propagationWindow: 2s}"),
    ("for people who read logs", "{log: {level: debug, format: text}, concurrency: 64}"),
    (
        "all switches at once",
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
async fn the_api_server_accepts_every_rendering() {
    let cluster = Cluster::start().await;
    let definitions = PROMETHEUS_OPERATOR.fetch().unwrap().join("example/prometheus-operator-crd");
    for kind in ["servicemonitors", "prometheusrules"] {
        let path = definitions.join(format!("monitoring.coreos.com_{kind}.yaml"));
        cluster.kubectls(&["apply", "--server-side", "-f", path.to_str().unwrap()]);
    }
    cluster.kubectls(&["wait", "--for=condition=Established", "crd", "--all"]);
    for namespace in [HOME, "shop", "pay"] {
        cluster.kubectls(&["create", "namespace", namespace]);
        // What doesn't meet the standard is refused when it is a pod, else warned of.
        let restricted = "pod-security.kubernetes.io/warn=restricted";
        cluster.kubectls(&["label", "namespace", namespace, restricted]);
    }
    let helm = Helm::find().unwrap();
    let mut counted = 0;
    for (name, values) in VALUES {
        let rendered = render(&helm, values);
        counted += objects(&rendered).len();
        accept(&cluster, name, &rendered);
    }
    let install = fs::read_to_string(checkout().join("deploy/install.yaml")).unwrap();
    accept(&cluster, "deploy/install.yaml", &install);
    println!("{} renderings accepted, {counted} objects in all", VALUES.len());
}

fn render(helm: &Helm, values: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("values.yaml");
    fs::write(&path, values).unwrap();
    let mut command = helm.command(folder.path());
    // With the test pod: it has to be accepted, too.
    command.args(["template", "auth0-rotator", "--namespace", HOME, "--values"]);
    let output = command.arg(&path).arg(chart()).output().unwrap();
    assert!(output.status.success(), "{values}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The API server takes all objects, without a warning.
fn accept(cluster: &Cluster, name: &str, rendered: &str) {
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    assert!(!said.contains("Warning"), "{name}: {said}");
    let accepted = String::from_utf8_lossy(&output.stdout).lines().count();
    assert_eq!(accepted, objects(rendered).len(), "{name}");
}

#[test]
fn the_image_is_the_one_that_is_named() {
    let helm = Helm::find().unwrap();
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (sets, image) in [
        (vec![], "auth0-rotator:0.1.0".to_owned()),
        (vec!["image.tag=1.2.3"], "auth0-rotator:1.2.3".to_owned()),
        (
            vec!["image.tag=1.2.3", &format!("image.digest={digest}")],
            format!("auth0-rotator@{digest}"),
        ),
    ] {
        let rendered = helm.template(&chart(), HOME, &sets).unwrap();
        let objects = objects(&rendered);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], image);
    }
}
