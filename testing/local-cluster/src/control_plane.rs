//! The running servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::apiserver::{self, Files};
use crate::assets::{Assets, Binary};
use crate::certificates::Authority;
use crate::data_dir::DataFolder;
use crate::error::{AssetsError, Error, FileContext as _};
use crate::etcd;
use crate::kubeconfig;
use crate::log_tail;
use crate::options::Options;
use crate::readiness::Starting;
use crate::reserved_port::ReservedPort;
use crate::supervised::Guarded;

const ADMIN: &str = "admin";
/// What members of this group do isn't subject to RBAC.
const ADMIN_GROUP: &str = "system:masters";

/// An etcd and a kube-apiserver that run until this is stopped or dropped, or the process ends.
///
/// It isn't bound to the runtime it was started on. Dropping it blocks for a moment;
/// [`stop`](Self::stop) doesn't.
#[derive(Debug)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

/// The fields are dropped from top to bottom: first the servers, last their folder.
struct Inner {
    servers: Mutex<Servers>,
    port: ReservedPort,
    authority: Authority,
    files: Files,
    config: kube::Config,
    kubeconfig: PathBuf,
    minted: AtomicU32,
    assets: Assets,
    options: Options,
    folder: DataFolder,
}

#[derive(Default)]
struct Servers {
    apiserver: Option<Guarded>,
    etcd: Option<Guarded>,
}

impl ControlPlane {
    /// Starts the servers with the default options and waits until they are ready.
    ///
    /// Where etcd and kube-apiserver aren't there yet, they are built, which takes minutes.
    ///
    /// # Errors
    ///
    /// As [`Options::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::options().start().await
    }

    /// The options, for [`Options::start`].
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

    /// The kubeconfig of an administrator, who may do everything (`system:masters`).
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.inner.kubeconfig
    }

    /// Writes a kubeconfig with a client certificate for `user`, member of `groups`, and returns
    /// its path in the data folder. Whether the user may do anything is up to RBAC.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let inner = &*self.inner;
        let certificate = inner.authority.client(user, groups)?;
        let yaml = kubeconfig::yaml(inner.port.get(), &inner.authority, user, &certificate)?;
        let number = inner.minted.fetch_add(1, Ordering::Relaxed);
        inner.folder.write(&format!("user-{number}.kubeconfig"), &yaml)
    }

    /// The configuration of a client that is an administrator. Each runtime needs a client of its
    /// own.
    #[must_use]
    pub fn client_config(&self) -> kube::Config {
        self.inner.config.clone()
    }

    /// The configuration of a client that is `user`, member of `groups`.
    ///
    /// # Errors
    ///
    /// When no certificate can be made.
    pub fn client_config_for(&self, user: &str, groups: &[&str]) -> Result<kube::Config, Error> {
        let inner = &*self.inner;
        let certificate = inner.authority.client(user, groups)?;
        kubeconfig::client_config(inner.port.get(), &inner.authority, &certificate)
    }

    /// A `kubectl` command on this API server, as its administrator. It is built first when it is
    /// missing: then this blocks, for about half a minute.
    ///
    /// # Errors
    ///
    /// When it isn't there and can't be built.
    pub fn kubectl(&self) -> Result<Command, AssetsError> {
        let inner = &*self.inner;
        let mut kubectl =
            Command::new(inner.assets.ensure(Binary::Kubectl, &inner.options.progress)?);
        kubectl
            .env("KUBECONFIG", &inner.kubeconfig)
            .env("KUBECACHEDIR", inner.folder.path().join("kubectl-cache"));
        Ok(kubectl)
    }

    /// The folder of the executables.
    #[must_use]
    pub fn assets_dir(&self) -> &Path {
        self.inner.assets.dir()
    }

    /// The folder of the data, certificates and logs (`etcd.log`, `kube-apiserver.log`).
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.inner.folder.path()
    }

    /// The port of the API server on 127.0.0.1. It stays the same when the API server restarts.
    #[must_use]
    pub fn apiserver_port(&self) -> u16 {
        self.inner.port.get()
    }

    /// The audit log, one `audit.k8s.io/v1` `Event` in JSON per line, if
    /// [`Options::audit_policy`] asked for one.
    #[must_use]
    pub fn audit_log_path(&self) -> Option<&Path> {
        self.inner.files.audit_log()
    }

    /// The certificate, PEM, of the authority that signs the API server's and clients'
    /// certificates.
    #[must_use]
    pub fn authority_path(&self) -> &Path {
        &self.inner.files.authority
    }

    /// The private key, PEM, of that authority, for example for a controller manager.
    #[must_use]
    pub fn authority_key_path(&self) -> &Path {
        &self.inner.files.authority_key
    }

    /// The private key, PEM, that signs service account tokens.
    #[must_use]
    pub fn service_account_key_path(&self) -> &Path {
        &self.inner.files.service_account_key
    }

    /// The API server's process id, or `None` when it is stopped.
    #[must_use]
    pub fn apiserver_pid(&self) -> Option<u32> {
        running_pid(&mut self.inner.servers().apiserver)
    }

    /// etcd's process id, or `None` when it has ended.
    #[must_use]
    pub fn etcd_pid(&self) -> Option<u32> {
        running_pid(&mut self.inner.servers().etcd)
    }

    /// Whether the servers run. An API server that was stopped on purpose doesn't count.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] when one has ended by itself.
    pub fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }

    /// Ends the API server by SIGTERM and waits for that, about 1 s; after 10 s by SIGKILL. While
    /// it ends it answers new requests by 429; then the port refuses connections until it is
    /// started again. Does nothing when it isn't running.
    ///
    /// # Errors
    ///
    /// When the server's end can't be waited for.
    pub async fn stop_apiserver(&self) -> Result<(), Error> {
        self.end_apiserver(Guarded::terminate).await
    }

    /// Ends the API server by SIGKILL and waits for that. Otherwise as
    /// [`stop_apiserver`](Self::stop_apiserver).
    ///
    /// # Errors
    ///
    /// When the server's end can't be waited for.
    pub async fn kill_apiserver(&self) -> Result<(), Error> {
        self.end_apiserver(Guarded::kill).await
    }

    /// Starts the API server, on the same port and data, after it has ended, and waits until it is
    /// ready. One that runs is only waited for. To end it by its process id and start it at once
    /// isn't reliable, since its end takes a moment to be noticed: see
    /// [`kill_apiserver`](Self::kill_apiserver).
    ///
    /// # Errors
    ///
    /// When it doesn't start, or isn't ready within the deadline.
    pub async fn start_apiserver(&self) -> Result<(), Error> {
        self.blocking(Inner::spawn_apiserver).await?;
        let log = self.inner.log(apiserver::NAME);
        let starting = self.inner.starting(apiserver::NAME, &log);
        starting.apiserver(self.client_config(), || self.check()).await
    }

    /// [`stop_apiserver`](Self::stop_apiserver) and [`start_apiserver`](Self::start_apiserver).
    ///
    /// # Errors
    ///
    /// As the two.
    pub async fn restart_apiserver(&self) -> Result<(), Error> {
        self.stop_apiserver().await?;
        self.start_apiserver().await
    }

    /// Ends the servers, and removes the data folder unless [`Options::data_dir`] named it. In a
    /// folder that stays they are ended by SIGTERM, else by SIGKILL, which is faster.
    ///
    /// # Errors
    ///
    /// When the servers' end can't be waited for.
    pub async fn stop(self) -> Result<(), Error> {
        tokio::task::spawn_blocking(move || {
            let mut servers = std::mem::take(&mut *self.inner.servers());
            if !self.inner.folder.is_temporary() {
                for server in [&mut servers.apiserver, &mut servers.etcd].into_iter().flatten() {
                    server.terminate().context("end the server of", server.log())?;
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
        let starting = self.inner.starting(etcd::NAME, &log);
        starting.etcd(self.data_dir(), || self.check()).await
    }

    async fn end_apiserver(
        &self,
        end: fn(&mut Guarded) -> std::io::Result<std::process::ExitStatus>,
    ) -> Result<(), Error> {
        self.blocking(move |inner| {
            // Locked until it has ended: a start meanwhile would share its port.
            let mut servers = inner.servers();
            if let Some(mut server) = servers.apiserver.take() {
                end(&mut server).context("end the server of", server.log())?;
            }
            Ok(())
        })
        .await
    }

    /// Runs `work` where it may block, and on which process management doesn't depend: children of
    /// a thread that is gone go on.
    async fn blocking(
        &self,
        work: impl FnOnce(&Inner) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

impl Inner {
    /// Everything up to the first server.
    fn prepare(options: Options) -> Result<Self, Error> {
        let assets = Assets::provide(&Binary::SERVERS, &options.progress)?;
        let folder = match &options.data_dir {
            Some(path) => DataFolder::kept(path)?,
            None => DataFolder::temporary()?,
        };
        let port = match options.nodes {
            Some(_) => ReservedPort::at(apiserver::SERVICE_PORT),
            None => ReservedPort::any(),
        };
        let port = port.map_err(Error::Port)?;
        let authority = Authority::new()?;
        let files = Files::write(&folder, &authority, &options)?;
        let admin = authority.client(ADMIN, &[ADMIN_GROUP])?;
        let yaml = kubeconfig::yaml(port.get(), &authority, ADMIN, &admin)?;
        Ok(Self {
            servers: Mutex::default(),
            config: kubeconfig::client_config(port.get(), &authority, &admin)?,
            kubeconfig: folder.write("admin.kubeconfig", &yaml)?,
            minted: AtomicU32::new(0),
            port,
            authority,
            files,
            assets,
            options,
            folder,
        })
    }

    fn spawn_etcd(&self) -> Result<(), Error> {
        let executable = self.assets.dir().join(Binary::Etcd.name());
        let command = etcd::command(&executable, self.folder.path(), self.options.etcd_fsync);
        let server = self.spawn(etcd::NAME, &command, etcd::GRACE)?;
        self.servers().etcd = Some(server);
        Ok(())
    }

    fn spawn_apiserver(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        if running_pid(&mut servers.apiserver).is_some() {
            return Ok(());
        }
        let executable = self.assets.dir().join(Binary::KubeApiserver.name());
        let folder = self.folder.path();
        let command =
            apiserver::command(&executable, folder, self.port.get(), &self.files, &self.options);
        servers.apiserver = Some(self.spawn(apiserver::NAME, &command, apiserver::GRACE)?);
        Ok(())
    }

    fn spawn(
        &self,
        server: &'static str,
        command: &Command,
        grace: std::time::Duration,
    ) -> Result<Guarded, Error> {
        let errors = self.folder.errors();
        errors
            .and_then(|errors| Guarded::spawn(command, &self.log(server), grace, errors))
            .map_err(|source| Error::Guardian { of: server, source })
    }

    fn check(&self) -> Result<(), Error> {
        let mut servers = self.servers();
        let Servers { apiserver, etcd } = &mut *servers;
        for (name, server) in [(etcd::NAME, etcd), (apiserver::NAME, apiserver)] {
            let Some(server) = server else { continue };
            let ended = server.ended().context("ask after the server of", server.log())?;
            if let Some(status) = ended {
                let (log, tail) = (server.log().to_path_buf(), log_tail::tail(server.log()));
                return Err(Error::Ended { server: name, status, log, tail });
            }
        }
        Ok(())
    }

    fn starting<'a>(&self, server: &'static str, log: &'a Path) -> Starting<'a> {
        let deadline = self.options.start_deadline;
        Starting { server, log, since: Instant::now(), deadline }
    }

    fn log(&self, server: &str) -> PathBuf {
        self.folder.path().join(format!("{server}.log"))
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("folder", &self.folder)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn running_pid(server: &mut Option<Guarded>) -> Option<u32> {
    let server = server.as_mut()?;
    matches!(server.ended(), Ok(None)).then(|| server.pid())
}
