//! A server that talks with one person and learns: the routes on a thread, one that talks, one that
//! learns.
//!
//! ```text
//! client ─ HTTP ─ guard ─ route ─ queue ── worker: sessions ──┐
//!                          │ └─ events of a reply ─┘          ├─ the person: state, buffer
//!                          └───── desk ─── learner: rounds ───┘
//! ```
//! On the loopback interface, a socket of the file system, or with a token anywhere.

pub mod api;
pub mod guard;
pub mod learner;
pub mod openai;
pub mod page;
pub mod queue;
pub mod stop;
pub mod talks;
pub mod worker;

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::{TcpListener, UnixListener};

use crate::tune::pace::Stop;
use api::Api;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket of the file system.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl core::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: which path?".into()),
            Some(path) => Ok(Address::Unix(path.into())),
            None => text
                .parse()
                .map(Address::Tcp)
                .map_err(|_| format!("{text:?} is no ADDRESS:PORT and no unix:PATH")),
        }
    }
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub(crate) struct Peer(String);

/// Serves until `stop` says so, or nothing works off the queue any more; `ready` hears the address,
/// whose port may have been 0.
///
/// # Errors
/// If the address cannot be had.
pub fn serve(
    address: &Address,
    api: Arc<Api>,
    stop: &Stop,
    ready: impl FnOnce(&str),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (work, stop) = (Arc::clone(&api.work), stop.clone());
    let waiting = Arc::clone(&work);
    let served = runtime.block_on(async {
        let routes = api::routes(api);
        let ended = async move {
            while stop.cause().is_none() && !waiting.is_closed() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Replies that wait are written still.
            waiting.close();
        };
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                ready(&format!("http://{}", listener.local_addr()?));
                let routes = routes.layer(middleware::from_fn(peer));
                let service = routes.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).with_graceful_shutdown(ended).await
            }
            Address::Unix(path) => {
                // A socket that a server left behind; one that answers is in use, and what is no
                // socket is somebody's.
                let left = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
                if left && std::os::unix::net::UnixStream::connect(path).is_err() {
                    let _ = fs::remove_file(path);
                }
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                ready(&format!("unix:{}", path.display()));
                let served = axum::serve(listener, routes).with_graceful_shutdown(ended).await;
                let _ = fs::remove_file(path);
                served
            }
        }
    });
    work.close();
    served
}

/// Notes whose request it is.
async fn peer(mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<axum::extract::ConnectInfo<SocketAddr>>();
    if let Some(name) = address.map(|address| address.0.to_string()) {
        request.extensions_mut().insert(Peer(name));
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_known_to_be_local_or_not() {
        let parse = |text: &str| text.parse::<Address>();
        assert!(parse("127.0.0.1:8080").unwrap().is_local());
        assert!(parse("[::1]:0").unwrap().is_local());
        assert!(!parse("0.0.0.0:8080").unwrap().is_local());
        assert_eq!(parse("unix:me.socket").unwrap(), Address::Unix("me.socket".into()));
        for wrong in ["8080", "localhost", "unix:", "127.0.0.1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
