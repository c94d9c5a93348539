//! A running etcd and kube-apiserver.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    apiserver::{self, Files},
    assets::{Assets, Binary},
    certificates::CertificateAuthority,
    data_dir::DataDir,
    error::{AssetsError, Error, FileContext as _},
    etcd, kubeconfig,
    log_tail::log_tail,
    options::Options,
    readiness::ServerStart,
    reserved_port::ReservedPort,
    supervised::{SpawnOptions, SupervisedProcess},
};

const ADMIN: &str = "admin";
/// The copy of etcd's data.
const SNAPSHOT: &str = "etcd-snapshot";
/// RBAC doesn't apply to members of this group.
const ADMIN_GROUP: &str = "system:masters";

/// An etcd and a kube-apiserver that run until this is stopped or dropped, or the process ends.
///
/// It isn't bound to the runtime that started it. Dropping it blocks for a moment;
/// [`stop`](Self::stop) doesn't block.
#[derive(Debug)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

/// The fields are dropped from top to bottom: the servers first, their directory last.
struct Inner {
    servers: Mutex<Servers>,
    port: ReservedPort,
    authority: CertificateAuthority,
    files: Files,
    config: kube::Config,
    kubeconfig: PathBuf,
    kubeconfig_count: AtomicU32,
    assets: Assets,
    options: Options,
    dir: DataDir,
}

#[derive(Default)]
struct Servers {
    apiserver: Option<SupervisedProcess>,
    etcd: Option<SupervisedProcess>,
}

impl ControlPlane {
    /// Starts the servers with the default options and waits until they are ready.
    ///
    /// If etcd or kube-apiserver is missing, it is built first, which takes minutes.
    ///
    /// # Errors
    ///
    /// The errors of [`Options::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::options().start().await
    }

    /// Returns the default options; [`Options::start`] starts the servers.
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) async fn start_with(options: Options) -> Result<Self, Error> {
        let prepare = tokio::task::spawn_blocking(|| Inner::prepare(options));
        let control_plane = Self { inner: Arc::new(prepare.await??) };
        control_plane.start_etcd().await?;
        control_plane.start_apiserver().await?;
        Ok(control_plane)
    }

    /// The kubeconfig of an administrator (`system:masters`), whose requests are always allowed.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.inner.kubeconfig
    }

    /// Writes a kubeconfig with a client certificate for `user`, member of `groups`, to the data
    /// directory and returns its path. RBAC decides what the user may do.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let inner = &*self.inner;
        let certificate = inner.authority.issue_client(user, groups)?;
        let yaml = kubeconfig::yaml(inner.port.port(), &inner.authority, user, &certificate)?;
        let number = inner.kubeconfig_count.fetch_add(1, Ordering::Relaxed);
        inner.dir.write(&format!("user-{number}.kubeconfig"), &yaml)
    }

    /// The configuration of a client with an administrator's rights. Each runtime needs its own
    /// client.
    #[must_use]
    pub fn client_config(&self) -> kube::Config {
        self.inner.config.clone()
    }

    /// Returns the configuration of a client that authenticates as `user`, member of `groups`.
    ///
    /// # Errors
    ///
    /// When no certificate can be issued.
    pub fn client_config_for(&self, user: &str, groups: &[&str]) -> Result<kube::Config, Error> {
        let inner = &*self.inner;
        let certificate = inner.authority.issue_client(user, groups)?;
        kubeconfig::client_config(inner.port.port(), &inner.authority, &certificate)
    }

    /// Returns a `kubectl` command that acts on this API server as its administrator. If kubectl is
    /// missing, this builds it, which blocks for about half a minute.
    ///
    /// # Errors
    ///
    /// When kubectl is missing and can't be built.
    pub fn kubectl(&self) -> Result<Command, AssetsError> {
        let inner = &*self.inner;
        let mut kubectl =
            Command::new(inner.assets.ensure(Binary::Kubectl, &inner.options.progress)?);
        kubectl
            .env("KUBECONFIG", &inner.kubeconfig)
            .env("KUBECACHEDIR", inner.dir.path().join("kubectl-cache"));
        Ok(kubectl)
    }

    /// The directory of the executables.
    #[must_use]
    pub fn assets_dir(&self) -> &Path {
        self.inner.assets.dir()
    }

    /// The directory of the data, certificates, and logs (`etcd.log`, `kube-apiserver.log`).
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.inner.dir.path()
    }

    /// The port of the API server on 127.0.0.1. It doesn't change when the API server restarts.
    #[must_use]
    pub fn apiserver_port(&self) -> u16 {
        self.inner.port.port()
    }

    /// The audit log, with one `audit.k8s.io/v1` `Event` in JSON per line. `None` unless
    /// [`Options::audit_policy`] is set.
    #[must_use]
    pub fn audit_log_path(&self) -> Option<&Path> {
        self.inner.files.audit_log()
    }

    /// The certificate (PEM) of the authority that issued the API server's and the clients'
    /// certificates.
    #[must_use]
    pub fn ca_certificate_path(&self) -> &Path {
        &self.inner.files.ca_certificate
    }

    /// The private key (PEM) of that authority, for example for a controller manager.
    #[must_use]
    pub fn ca_key_path(&self) -> &Path {
        &self.inner.files.ca_key
    }

    /// The private key (PEM) that signs service account tokens.
    #[must_use]
    pub fn service_account_key_path(&self) -> &Path {
        &self.inner.files.service_account_key
    }

    /// The API server's process id, or `None` while it doesn't run.
    #[must_use]
    pub fn apiserver_pid(&self) -> Option<u32> {
        running_pid(&mut self.inner.servers().apiserver)
    }

    /// etcd's process id, or `None` after it has exited.
    #[must_use]
    pub fn etcd_pid(&self) -> Option<u32> {
        running_pid(&mut self.inner.servers().etcd)
    }

    /// Checks that the servers run. An API server that was stopped on purpose is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Exited`] when a server has exited unexpectedly.
    pub fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }

    /// Ends the API server by SIGTERM, or by SIGKILL after 10 s, and waits for its end, which takes
    /// about 1 s. While it shuts down it responds to new requests with 429. From then until the
    /// next start its port refuses connections. Does nothing if it isn't running.
    ///
    /// # Errors
    ///
    /// When the server can't be waited for.
    pub async fn stop_apiserver(&self) -> Result<(), Error> {
        self.end_apiserver(SupervisedProcess::terminate).await
    }

    /// Ends the API server by SIGKILL and waits for its end. Otherwise the same as
    /// [`stop_apiserver`](Self::stop_apiserver).
    ///
    /// # Errors
    ///
    /// When the server can't be waited for.
    pub async fn kill_apiserver(&self) -> Result<(), Error> {
        self.end_apiserver(SupervisedProcess::kill).await
    }

    /// Starts the API server after it has ended, with the same port and data, and waits until it is
    /// ready. If it already runs, this only waits.
    ///
    /// Don't kill it by its process id and call this immediately, because the exit is noticed with a
    /// delay: use [`kill_apiserver`](Self::kill_apiserver).
    ///
    /// # Errors
    ///
    /// When it doesn't start, or isn't ready within the deadline.
    pub async fn start_apiserver(&self) -> Result<(), Error> {
        self.blocking(Inner::spawn_apiserver).await?;
        let log = self.inner.log(apiserver::NAME);
        let start = self.inner.server_start(apiserver::NAME, &log);
        start.wait_for_apiserver(self.client_config(), || self.check()).await
    }

    /// Calls [`stop_apiserver`](Self::stop_apiserver) and
    /// [`start_apiserver`](Self::start_apiserver).
    ///
    /// # Errors
    ///
    /// The errors of the two.
    pub async fn restart_apiserver(&self) -> Result<(), Error> {
        self.stop_apiserver().await?;
        self.start_apiserver().await
    }

    /// Copies etcd's data, as a snapshot does. The servers restart meanwhile.
    ///
    /// # Errors
    ///
    /// When a file can't be copied, or a server doesn't end or start.
    pub async fn save_snapshot(&self) -> Result<(), Error> {
        self.restart_around(|dir| copy_dir(&dir.join(etcd::DATA_DIR), &dir.join(SNAPSHOT))).await
    }

    /// Restores the data of the last [`save_snapshot`](Self::save_snapshot), so that etcd's revision
    /// goes back. The servers restart.
    ///
    /// # Errors
    ///
    /// When a file can't be copied, or a server doesn't end or start.
    pub async fn restore_snapshot(&self) -> Result<(), Error> {
        self.restart_around(|dir| {
            std::fs::remove_dir_all(dir.join(etcd::DATA_DIR))?;
            copy_dir(&dir.join(SNAPSHOT), &dir.join(etcd::DATA_DIR))
        })
        .await
    }

    /// Ends the servers, works on their directory, and starts them again.
    async fn restart_around(&self, work: fn(&Path) -> std::io::Result<()>) -> Result<(), Error> {
        self.stop_apiserver().await?;
        self.blocking(move |inner| {
            if let Some(mut etcd) = inner.servers().etcd.take() {
                etcd.terminate().context("end the server that writes", etcd.log())?;
            }
            let dir = inner.dir.path();
            work(dir).context("copy etcd's data in", dir)?;
            // It shows when etcd is ready.
            let _ = std::fs::remove_file(etcd::socket(dir));
            Ok(())
        })
        .await?;
        self.start_etcd().await?;
        self.start_apiserver().await
    }

    /// Ends the servers, and removes the data directory unless [`Options::data_dir`] set it. With a
    /// persistent directory the servers shut down by SIGTERM, otherwise SIGKILL ends them faster.
    ///
    /// # Errors
    ///
    /// When the servers can't be waited for.
    pub async fn stop(self) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || {
            let mut servers = std::mem::take(&mut *self.inner.servers());
            if !self.inner.dir.is_temporary() {
                for server in [&mut servers.apiserver, &mut servers.etcd].into_iter().flatten() {
                    server.terminate().context("end the server that writes", server.log())?;
                }
            }
            drop(servers);
            Ok(())
        })
        .await?
    }

    async fn start_etcd(&self) -> Result<(), Error> {
        self.blocking(Inner::spawn_etcd).await?;
        let log = self.inner.log(etcd::NAME);
        let start = self.inner.server_start(etcd::NAME, &log);
        start.wait_for_etcd(self.data_dir(), || self.check()).await
    }

    async fn end_apiserver(
        &self,
        end: fn(&mut SupervisedProcess) -> std::io::Result<ExitStatus>,
    ) -> Result<(), Error> {
        self.blocking(move |inner| {
            // Hold the lock until it has ended: a concurrent start would share its port.
            let mut servers = inner.servers();
            if let Some(mut server) = servers.apiserver.take() {
                end(&mut server).context("end the server that writes", server.log())?;
            }
            Ok(())
        })
        .await
    }

    /// Runs `work` on a thread that may block. The servers don't depend on that thread: child
    /// processes outlive the thread that started them.
    async fn blocking(
        &self,
        work: impl FnOnce(&Inner) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

impl Inner {
    /// Prepares everything that the servers need.
    fn prepare(options: Options) -> Result<Self, Error> {
        let assets = Assets::provide(&Binary::SERVERS, &options.progress)?;
        let dir = match &options.data_dir {
            Some(path) => DataDir::persistent(path)?,
            None => DataDir::temporary()?,
        };
        let port = match options.node_address {
            Some(_) => ReservedPort::bind(apiserver::SERVICE_PORT),
            None => ReservedPort::any(),
        };
        let port = port.map_err(Error::Port)?;
        let authority = CertificateAuthority::new()?;
        let files = Files::write(&dir, &authority, &options)?;
        let admin = authority.issue_client(ADMIN, &[ADMIN_GROUP])?;
        let yaml = kubeconfig::yaml(port.port(), &authority, ADMIN, &admin)?;
        Ok(Self {
            servers: Mutex::default(),
            config: kubeconfig::client_config(port.port(), &authority, &admin)?,
            kubeconfig: dir.write("admin.kubeconfig", &yaml)?,
            kubeconfig_count: AtomicU32::new(0),
            port,
            authority,
            files,
            assets,
            options,
            dir,
        })
    }

    fn spawn_etcd(&self) -> Result<(), Error> {
        let executable = self.assets.dir().join(Binary::Etcd.name());
        let command = etcd::command(&executable, self.dir.path(), self.options.etcd_fsync);
        let server = self.spawn(etcd::NAME, &command, etcd::GRACE_PERIOD)?;
        self.servers().etcd = Some(server);
        Ok(())
    }

    fn spawn_apiserver(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        if running_pid(&mut servers.apiserver).is_some() {
            return Ok(());
        }
        let executable = self.assets.dir().join(Binary::KubeApiserver.name());
        let (dir, port) = (self.dir.path(), self.port.port());
        let command = apiserver::command(&executable, dir, port, &self.files, &self.options);
        servers.apiserver = Some(self.spawn(apiserver::NAME, &command, apiserver::GRACE_PERIOD)?);
        Ok(())
    }

    fn spawn(
        &self,
        server: &'static str,
        command: &Command,
        grace_period: Duration,
    ) -> Result<SupervisedProcess, Error> {
        let spawn = || {
            let supervisor_stderr = self.dir.supervisor_stderr()?;
            let options =
                SpawnOptions { grace_period, supervisor_stderr, ..SpawnOptions::default() };
            SupervisedProcess::spawn(command, &self.log(server), options)
        };
        spawn().map_err(|source| Error::Supervisor { of: server, source })
    }

    fn check(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        let Servers { apiserver, etcd } = &mut *servers;
        for (name, server) in [(etcd::NAME, etcd), (apiserver::NAME, apiserver)] {
            let Some(server) = server else { continue };
            let status = server.try_wait().context("check the server that writes", server.log())?;
            if let Some(status) = status {
                let (log, tail) = (server.log().to_path_buf(), log_tail(server.log()));
                return Err(Error::Exited { server: name, status, log, tail });
            }
        }
        Ok(())
    }

    fn server_start<'a>(&self, server: &'static str, log: &'a Path) -> ServerStart<'a> {
        let deadline = self.options.start_deadline;
        ServerStart { server, log, since: Instant::now(), deadline }
    }

    fn log(&self, server: &str) -> PathBuf {
        self.dir.path().join(format!("{server}.log"))
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    // etcd requires it.
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &copy)?;
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

fn running_pid(server: &mut Option<SupervisedProcess>) -> Option<u32> {
    let server = server.as_mut()?;
    match server.try_wait() {
        Ok(None) => Some(server.pid()),
        Ok(Some(_)) | Err(_) => None,
    }
}
