//! What stands in front of several view-servers where an agent dials one address: each connection
//! goes to the next of them that answers. It can be cut, as a network can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 256;

/// It ends when it is dropped, and its connections with it.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    // Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Front {
    /// Listens on a free port of loopback.
    pub(super) async fn start(backends: Vec<String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cut = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, backends, cut.subscribe()));
        Ok(Self {
            address,
            cut,
            _tasks: tasks,
        })
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections, and each new one at once; or no longer.
    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn accept(listener: TcpListener, backends: Vec<String>, cut: watch::Receiver<bool>) {
    let backends = Arc::new(backends);
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
        let (backends, next, cut) = (Arc::clone(&backends), Arc::clone(&next), cut.clone());
        connections.spawn(async move { carry(stream, &backends, &next, cut).await });
    }
}

async fn carry(
    mut stream: TcpStream,
    backends: &[String],
    next: &AtomicUsize,
    mut cut: watch::Receiver<bool>,
) {
    let first = next.fetch_add(1, Ordering::Relaxed);
    let carried = async {
        for turn in 0..backends.len() {
            let backend = &backends[first.wrapping_add(turn) % backends.len()];
            if let Ok(mut other) = TcpStream::connect(backend).await {
                // Small answers must not wait for an acknowledgement.
                let _ = (stream.set_nodelay(true), other.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
                return;
            }
        }
    };
    tokio::select! {
        () = carried => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}
