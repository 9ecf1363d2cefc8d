//! One private Postgres for the tests that run at the same time, and a fresh
//! database for each test, cloned from a migrated one.
//!
//! The instance ends and its directory goes when the last test that holds it has
//! ended; it is killed by the kernel should the test program be.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use forebay_central::Store;
use forebay_postgres::{
    Config, Pool, Target,
    private::{self, ADMIN, Private},
};
use tokio_util::sync::CancellationToken;

const TEMPLATE: &str = "template_forebay";

/// A running instance.
pub(crate) struct Instance {
    dir: tempfile::TempDir,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    next: AtomicU32,
}

/// A database of one's own; the instance lives as long as any of these.
pub(crate) struct Database {
    pub(crate) instance: Arc<Instance>,
    pub(crate) name: String,
}

impl Instance {
    /// The instance of this moment.
    pub(crate) fn shared() -> Arc<Self> {
        static CURRENT: Mutex<Weak<Instance>> = Mutex::new(Weak::new());
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = current.upgrade() {
            return instance;
        }
        let instance = Arc::new(Self::start());
        *current = Arc::downgrade(&instance);
        instance
    }

    /// One that no other test uses, for tests that stop it.
    pub(crate) fn start() -> Self {
        let base = if rustix_is_root() {
            PathBuf::from("/var/tmp")
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::Builder::new()
            .prefix("forebay-central.")
            .tempdir_in(base)
            .expect("a directory");
        // The server runs as another account when this is root.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("its mode");
        let mut instance = Self {
            dir,
            stop: CancellationToken::new(),
            thread: None,
            next: AtomicU32::new(0),
        };
        instance.launch();
        instance
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        let mut config =
            private::Config::new(self.dir.path().join("state"), self.socket_dir(), Vec::new());
        config.fsync = false;
        config.connections_max = 200;
        let private = Private::new(config).expect("a configuration");
        self.stop = CancellationToken::new();
        let stop = self.stop.clone();
        let (ready, is_ready) = mpsc::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let told = ready.clone();
            let ended = runtime.block_on(private.run(stop, move || {
                let _ = told.send(Ok(()));
            }));
            if let Err(error) = ended {
                let _ = ready.send(Err(format!(
                    "{error}: {:?}",
                    std::error::Error::source(&error)
                )));
            }
        };
        self.thread = Some(std::thread::spawn(run));
        let ready = is_ready
            .recv_timeout(Duration::from_secs(60))
            .expect("an answer within a minute");
        ready.expect("a private instance");
    }

    /// Stops the server in order.
    pub(crate) fn halt(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn config(&self, database: &str) -> Config {
        let target = Target::Private {
            socket_dir: self.socket_dir(),
            database: database.into(),
            role: ADMIN.into(),
        };
        Config::new(target, "tests")
    }

    async fn clone_template(&self) -> String {
        static MAKE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = MAKE.lock().await;
        let admin = Pool::new(self.config(ADMIN))
            .expect("a pool")
            .get()
            .await
            .expect("the instance");
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            admin
                .batch_execute(&format!("CREATE DATABASE {TEMPLATE}"))
                .await
                .expect("a template");
            let store =
                Store::new(Pool::new(self.config(TEMPLATE)).expect("a pool")).expect("a store");
            store.migrate().await.expect("migrations");
            drop(store);
        }
        let name = format!("test_{number}");
        // The template's last connection may take a moment to go.
        for _ in 0..100 {
            if admin
                .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
                .await
                .is_ok()
            {
                return name;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the template could not be cloned");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Database {
    /// A fresh one in the shared instance.
    pub(crate) async fn new() -> Self {
        Self::within(Instance::shared()).await
    }

    pub(crate) async fn within(instance: Arc<Instance>) -> Self {
        let name = instance.clone_template().await;
        Self { instance, name }
    }

    pub(crate) fn pool(&self) -> Pool {
        Pool::new(self.instance.config(&self.name)).expect("a pool")
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.pool()).expect("a store")
    }
}

fn rustix_is_root() -> bool {
    // /proc/self belongs to the effective user.
    std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
