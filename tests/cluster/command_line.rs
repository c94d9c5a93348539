//! Exit status and error messages of the binary.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

#[test]
fn invalid_arguments_exit_with_status_2() {
    for arguments in [
        vec!["run", "--namespace", "Shop"],
        vec!["run", "--concurrency", "0"],
        vec!["run", "--metrics-addr", "here"],
        vec!["run", "--propagation-window", "-5s"],
        vec!["run", "--leader-elect-renew-deadline", "12s"],
        vec!["run", "--leader-elect-resource-name", "My Lease"],
        vec!["run", "--watch-label-selector", "shard a"],
        vec!["wait-ready"],
        vec!["wait-ready", "here"],
        vec!["walk"],
        vec![],
    ] {
        let output = binary().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn missing_kubeconfig_exits_with_status_1() {
    let output = binary()
        .args(["run", "--metrics-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"])
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap();
    let error = error_message(output);
    assert!(error.contains("set KUBECONFIG"), "{error}");
}

#[test]
fn port_in_use_exits_with_status_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let directory = tempfile::TempDir::new().unwrap();
    let kubeconfig = directory.path().join("config");
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                  clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                  users: [{name: c, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    fs::write(&kubeconfig, config).unwrap();
    let output = binary()
        .args(["run", "--metrics-addr", &address, "--health-addr", "127.0.0.1:0"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let error = error_message(output);
    assert!(error.contains("--metrics-addr") && error.contains(&address), "{error}");
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_auth0-rotator"))
}

/// Asserts that the binary failed with status 1, and returns what it wrote to standard error.
fn error_message(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}
