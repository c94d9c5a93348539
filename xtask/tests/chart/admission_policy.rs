//! The admission policies apply where the release's operator works, for users of kubectl.

use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::Helm;

use crate::cluster::{Cluster, chart, parse_objects};

/// How long the API server may take to enforce policies and roles.
const DEADLINE: Duration = Duration::from_secs(30);

const ROTATION: &str = "
apiVersion: auth0-rotator.dev/v1alpha1
kind: ClientSecretRotation
metadata: {name: checkout}
spec:
  clientId: 2IcXk0
  tenantRef: {name: production}
  target: {name: checkout-auth0}
  consumers: {restart: [{kind: Deployment, name: checkout}]}
";

/// Returns the objects of the policies that the chart renders.
fn policies(sets: &[&str]) -> Vec<Value> {
    let rendered = Helm::find_or_build().unwrap().template(&chart(), "home", sets).unwrap();
    let mut objects = parse_objects(&rendered);
    objects.retain(|object| {
        object["kind"].as_str().is_some_and(|kind| kind.starts_with("ValidatingAdmissionPolicy"))
    });
    objects
}

#[test]
fn policies_apply_to_the_namespaces_of_the_operator() {
    let values = "/spec/matchResources/namespaceSelector/matchExpressions/0/values";
    let bindings = |sets: &[&str]| -> Vec<Value> {
        let mut objects = policies(sets);
        assert_eq!(objects.len(), 4);
        objects.retain(|object| object["kind"] == "ValidatingAdmissionPolicyBinding");
        objects
    };
    for binding in bindings(&[]) {
        assert_eq!(binding["spec"].get("matchResources"), None);
    }
    for binding in bindings(&["scope=namespaced"]) {
        assert_eq!(binding.pointer(values), Some(&serde_json::json!(["home"])));
    }
    for binding in bindings(&["scope=namespaced", "namespaces={a,b}"]) {
        assert_eq!(binding.pointer(values), Some(&serde_json::json!(["a", "b"])));
    }
    assert_eq!(policies(&["admissionPolicy.enabled=false"]), [] as [Value; 0]);
}

#[test]
fn allowed_metadata_becomes_flags() {
    let set = "allowedMetadata={team,example.com/}";
    let rendered = Helm::find_or_build().unwrap().template(&chart(), "home", &[set]).unwrap();
    let objects = parse_objects(&rendered);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    for flag in ["--allowed-metadata=team", "--allowed-metadata=example.com/"] {
        assert!(arguments.as_array().unwrap().iter().any(|argument| argument == flag), "{flag}");
    }
}

/// Runs kubectl as a user until its success is as expected. Returns what it printed.
async fn kubectl_until(cluster: &Cluster, user: &str, arguments: &[&str], success: bool) -> String {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let output =
            cluster.kubectl_command().args(["--as", user]).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.success() == success {
            return text;
        }
        assert!(Instant::now() < deadline, "{user}: {arguments:?}: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn grant(cluster: &Cluster, namespace: &str, user: &str, verbs: &str, resource: &str) {
    let role = format!("{user}-{}", resource.split('.').next().unwrap());
    let verbs = format!("--verb={verbs}");
    let resource = format!("--resource={resource}");
    cluster.kubectl(&["create", "role", &role, &verbs, &resource, "-n", namespace]);
    let user = format!("--user={user}");
    let role_argument = format!("--role={role}");
    cluster.kubectl(&["create", "rolebinding", &role, &role_argument, &user, "-n", namespace]);
}

#[tokio::test]
async fn users_of_kubectl_need_the_permissions_that_the_operator_uses() {
    let cluster = Cluster::start().await;
    let chart = chart();
    let chart = chart.to_str().unwrap();
    let install = ["install", "shops", chart, "--namespace", "shop", "--create-namespace"];
    cluster.helm(&[&install[..], &["--set", "scope=namespaced"]].concat());
    cluster.kubectl(&["create", "namespace", "pay"]);
    let file = cluster.write("rotation.yaml", ROTATION);
    for (namespace, user) in
        [("shop", "author"), ("shop", "support"), ("pay", "support"), ("shop", "deployer")]
    {
        let resource = "clientsecretrotations.auth0-rotator.dev";
        grant(&cluster, namespace, user, "get,create,patch,update", resource);
    }
    for user in ["author", "deployer"] {
        grant(&cluster, "shop", user, "create,patch", "secrets");
    }
    grant(&cluster, "shop", "deployer", "patch", "deployments.apps");

    let in_shop = ["apply", "--server-side", "-n", "shop", "-f", &file];
    let denied = kubectl_until(&cluster, "support", &in_shop, false).await;
    assert!(denied.contains("you may not create Secrets in this namespace"), "{denied}");
    let denied = kubectl_until(&cluster, "author", &in_shop, false).await;
    assert!(denied.contains("you may not patch the Deployment checkout"), "{denied}");
    kubectl_until(&cluster, "deployer", &in_shop, true).await;
    // The release does not manage this namespace.
    let in_pay = ["apply", "--server-side", "-n", "pay", "-f", &file];
    kubectl_until(&cluster, "support", &in_pay, true).await;

    // A change of other fields needs no permission: an unchanged manifest, applied either way, a
    // request, and another field.
    kubectl_until(&cluster, "support", &in_shop, true).await;
    kubectl_until(&cluster, "support", &["apply", "-n", "shop", "-f", &file], true).await;
    let request = "auth0-rotator.dev/request=rotate/now";
    let annotate = ["annotate", "csrot", "checkout", request, "-n", "shop"];
    kubectl_until(&cluster, "support", &annotate, true).await;
    let patch = |patch: &'static str| {
        ["patch", "csrot", "checkout", "-n", "shop", "--type=merge", "-p", patch]
    };
    kubectl_until(&cluster, "support", &patch(r#"{"spec":{"suspend":true}}"#), true).await;
    let keys = patch(r#"{"spec":{"target":{"keys":{"current":"password"}}}}"#);
    kubectl_until(&cluster, "support", &keys, false).await;
    let restart =
        patch(r#"{"spec":{"consumers":{"restart":[{"kind":"Deployment","name":"other"}]}}}"#);
    kubectl_until(&cluster, "support", &restart, false).await;
    kubectl_until(&cluster, "author", &keys, true).await;
    kubectl_until(&cluster, "deployer", &restart, true).await;
}
