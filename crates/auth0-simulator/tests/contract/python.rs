//! Auth0's own Python client works unchanged against the simulator.
//!
//! The client is installed into a virtual environment outside the checkout, once per set of pinned
//! versions in `tests/python/requirements.txt`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{
    assertions::RsaKey,
    support::{MANAGER, MANAGER_SECRET, Tenant, immediate},
    tls::generate_certificates,
};

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// Runs a command to completion. A failure shows its output.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "failed to run {command:?}: {error}. The test of Auth0's Python client needs python3 \
             with venv and pip; on Debian and Ubuntu: apt-get install python3 python3-venv"
        )
    });
    assert!(
        output.status.success(),
        "{command:?} failed (it needs python3 with venv and pip, and the network for the first \
         run):\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn cache_dir() -> PathBuf {
    let base = absolute_path_from("XDG_CACHE_HOME")
        .or_else(|| absolute_path_from("HOME").map(|home| home.join(".cache")))
        .expect("HOME or XDG_CACHE_HOME is an absolute path");
    base.join("auth0-rotator")
}

fn absolute_path_from(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the interpreter of a virtual environment with the requirements. Installs them first if
/// necessary.
fn python() -> PathBuf {
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = run(Command::new("python3").args(["-c", version])).stdout;
    let version = String::from_utf8(version).unwrap();
    let library = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("auth0-python=="));
    let name = format!("python-{}-auth0-{}", version.trim(), library.unwrap());
    let cache = cache_dir();
    fs::create_dir_all(&cache).unwrap();
    let environment = cache.join(&name);

    // One installation at a time, also across checkouts. Dropping the file releases the lock.
    let lock = File::create(cache.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    install(&environment);
    environment.join("bin").join("python")
}

fn install(environment: &Path) {
    // Written last. Without it, the environment is a remnant of an interrupted installation.
    let marker = environment.join("installed-requirements.txt");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == REQUIREMENTS) {
        return;
    }
    if environment.exists() {
        fs::remove_dir_all(environment).unwrap();
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(environment));
    let requirements = TempDir::new().unwrap();
    let file = requirements.path().join("requirements.txt");
    fs::write(&file, REQUIREMENTS).unwrap();
    run(Command::new(environment.join("bin").join("python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--requirement"])
        .arg(&file));
    fs::write(&marker, REQUIREMENTS).unwrap();
}

#[tokio::test]
async fn auth0_python_client_works_unchanged() {
    let certificates = generate_certificates();
    let builder =
        immediate().domain("localhost:{port}").tls(certificates.certificate, certificates.key);
    let tenant = Tenant::start(builder).await;
    let directory = TempDir::new().unwrap();
    let authority = directory.path().join("authority.pem");
    fs::write(&authority, certificates.authority).unwrap();
    let key = RsaKey::generate();
    let (private, public) = (directory.path().join("key.pem"), directory.path().join("key.pub"));
    fs::write(&private, key.private()).unwrap();
    fs::write(&public, key.public()).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/contract.py");
    let (domain, admin_url) = (tenant.simulator.domain(), tenant.simulator.admin_url().to_owned());
    let script_run = tokio::task::spawn_blocking(move || {
        run(Command::new(python())
            .arg("-B")
            .arg(script)
            .env("DOMAIN", domain)
            .env("ADMIN_URL", admin_url)
            .env("CLIENT_ID", MANAGER)
            .env("CLIENT_SECRET", MANAGER_SECRET)
            .env("PRIVATE_KEY", private)
            .env("PUBLIC_KEY", public)
            .env("SSL_CERT_FILE", &authority)
            .env("REQUESTS_CA_BUNDLE", &authority)
            .env("NO_PROXY", "localhost,127.0.0.1"))
    });
    script_run.await.unwrap();
    let names: Vec<String> = tenant
        .simulator
        .audit_log(0)
        .iter()
        .filter_map(|entry| entry.auth0_client.as_ref()?["name"].as_str().map(Into::into))
        .collect();
    assert!(names.iter().any(|name| name == "auth0-python"), "{names:?}");
}
