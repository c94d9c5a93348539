//! The command line.

use crate::support::program;

#[test]
fn invalid_arguments_exit_with_status_2() {
    for arguments in
        [&[][..], &["no-such-command"], &["start", "--no-such-flag"], &["build", "--with=vi"]]
    {
        let output = program().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("--help"), "{arguments:?}");
    }
}

#[test]
fn help_names_environment_variables_and_subcommands() {
    let output = program().arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["KUBEBUILDER_ASSETS", "AUTH0_ROTATOR_CACHE", "build", "start", "path"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn path_prints_the_directory_of_the_servers() {
    let path = |variable, value| {
        let mut command = program();
        for name in ["KUBEBUILDER_ASSETS", "AUTH0_ROTATOR_CACHE", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        let output = command.arg("path").env(variable, value).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(path("KUBEBUILDER_ASSETS", "/some/where"), "/some/where");
    let key = format!("{}-", local_cluster::kubernetes_version());
    let below = |dir: &str| format!("{dir}/control-plane/{key}");
    let cache = path("AUTH0_ROTATOR_CACHE", "/some/cache");
    assert!(cache.starts_with(&below("/some/cache")), "{cache}");
    let cache = path("XDG_CACHE_HOME", "/some/cache");
    assert!(cache.starts_with(&below("/some/cache/auth0-rotator")), "{cache}");
    let cache = path("HOME", "/some/home");
    assert!(cache.starts_with(&below("/some/home/.cache/auth0-rotator")), "{cache}");
}
