//! A loopback port that stays reserved while the server on it restarts.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Port that is bound without listening.
///
/// The usual way to find a free port (bind to port 0, read the port, close the socket) leaves a gap
/// in which another process may take it: a second control plane, or an outgoing connection while
/// the API server restarts. With SO_REUSEPORT the port stays bound here while the API server, which
/// runs as the same user and sets the option too (`--permit-port-sharing`), listens on it. A socket
/// that doesn't listen accepts no connections, so clients get "connection refused" while the server
/// is down.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    _socket: Socket,
    port: u16,
}

impl ReservedPort {
    /// Reserves any free port.
    pub(crate) fn any() -> io::Result<Self> {
        Self::bind(0)
    }

    /// Reserves the port `port`; 0 means any free port.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let address = socket.local_addr()?.as_socket();
        let port = address.ok_or_else(|| io::Error::other("the socket has no address"))?.port();
        Ok(Self { _socket: socket, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn rejects_connections_and_other_listeners() {
        let reserved = ReservedPort::any().unwrap();
        let address = (Ipv4Addr::LOCALHOST, reserved.port());
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = TcpListener::bind(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
