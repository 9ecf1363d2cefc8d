//! Where a server listens: TCP, a unix socket, or a socket somebody else has bound.

use crate::io::Stream;
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};
use tokio::net::{TcpListener, UnixListener};

/// Connections the kernel holds for us until we accept them.
const BACKLOG: i32 = 1024;

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address and port.
    Tcp(SocketAddr),
    /// A path, or nothing for a socket without a name.
    Unix(Option<PathBuf>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(Some(path)) => write!(f, "{}", path.display()),
            Self::Unix(None) => f.write_str("(unnamed socket)"),
        }
    }
}

/// Cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers on that socket.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// There is something at the path that is not a socket; it is left alone.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {address}")]
    System {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn system(address: impl fmt::Display) -> impl Fn(io::Error) -> ListenError {
    move |source| ListenError::System {
        address: address.to_string(),
        source,
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: Address,
    bound: Option<Bound>,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket file of ours; removed with the listener, unless another has taken its place.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Bound {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Listener {
    /// Listen on an address and port; port 0 takes a free one, see [`address`](Self::address).
    pub async fn tcp(addr: SocketAddr) -> Result<Self, ListenError> {
        let listener = TcpListener::bind(addr).await.map_err(system(addr))?;
        let bound = listener.local_addr().map_err(system(addr))?;
        Ok(Self {
            kind: Kind::Tcp(listener),
            address: Address::Tcp(bound),
            bound: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Listen on a unix socket at `path` with permissions `mode`, such as `0o600`.
    ///
    /// A socket left behind by a process that is gone is replaced, in one step; one that is being
    /// listened on is [`ListenError::InUse`]. The file is removed when the listener is dropped.
    pub fn unix(path: &Path, mode: u32) -> Result<Self, ListenError> {
        let failed = system(path.display());
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Held until the socket is in place: of two that start at once, the later sees the earlier.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(directory, flags, Mode::empty())
            .and_then(|lock| rustix::fs::flock(&lock, FlockOperation::LockExclusive).map(|()| lock))
            .map_err(|error| failed(error.into()))?;
        refuse_if_in_use(path)?;

        // Under a name of its own until its permissions are right, then moved into place.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let listener = listen_at(&temporary, mode)
            .and_then(|listener| fs::rename(&temporary, path).map(|()| listener))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .map_err(&failed)?;
        let identity = identity(path).map_err(&failed)?;
        drop(lock);
        Ok(Self {
            kind: Kind::Unix(listener),
            address: Address::Unix(Some(path.to_owned())),
            bound: Some(Bound {
                path: path.to_owned(),
                identity,
            }),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Listen on a bound stream socket that another process has passed on.
    ///
    /// `listen` is called here in any case: peers of a unix socket see the uid of the process that
    /// called it last, which should be ours. The file of a unix socket is left to whoever made it.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, ListenError> {
        let failed = system("an inherited socket");
        let errno = |error: rustix::io::Errno| failed(error.into());
        let family = rustix::net::sockopt::socket_domain(&fd).map_err(errno)?;
        rustix::net::listen(&fd, BACKLOG).map_err(errno)?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(errno)?;
        let (kind, address) = if family == AddressFamily::UNIX {
            let listener = std::os::unix::net::UnixListener::from(fd);
            let listener = UnixListener::from_std(listener).map_err(&failed)?;
            let local = listener.local_addr().map_err(&failed)?;
            let path = local.as_pathname().map(Path::to_owned);
            (Kind::Unix(listener), Address::Unix(path))
        } else {
            let listener = std::net::TcpListener::from(fd);
            let listener = TcpListener::from_std(listener).map_err(&failed)?;
            let local = listener.local_addr().map_err(&failed)?;
            (Kind::Tcp(listener), Address::Tcp(local))
        };
        Ok(Self {
            kind,
            address,
            bound: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Speak TLS on it, with a certificate.
    #[cfg(feature = "tls")]
    pub fn with_tls(
        mut self,
        certificates: &crate::tls::Certificates,
    ) -> Result<Self, crate::tls::TlsError> {
        self.tls = Some(certificates.config()?);
        Ok(self)
    }

    /// Does a connection's handshake, if it is to be done.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<tokio_rustls::TlsAcceptor> {
        self.tls.clone().map(Into::into)
    }

    /// Where it can be reached.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address and port, over TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(addr) => Some(addr),
            Address::Unix(_) => None,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Small answers must not wait for the peer's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Kind::Unix(listener) => Stream::Unix(listener.accept().await?.0),
        })
    }

    /// Stop listening: new connections are refused at once, and the socket's file goes.
    pub(crate) fn close(self) {
        drop(self.bound);
        drop(self.kind);
    }
}

fn refuse_if_in_use(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(path.display())(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let probe = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        // A listener whose queue is full would otherwise hold us.
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    );
    let connected = probe.and_then(|probe| {
        let address = SocketAddrUnix::new(path)?;
        rustix::net::connect(&probe, &address)
    });
    match connected {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(()),
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Err(ListenError::InUse(path.to_owned())),
        Err(error) => Err(system(path.display())(error.into())),
    }
}

/// Bind, set permissions, and only then listen: nobody can connect in between.
fn listen_at(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // Of an earlier process with our pid.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}
