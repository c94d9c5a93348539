//! A loopback port that stays ours while the server on it restarts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Holds a port without listening on it.
///
/// The usual way, to bind to port 0, note the port and close, leaves a gap in which another
/// process may get the port: two fixtures at once, or an outgoing connection while the API server
/// restarts. With SO_REUSEPORT the port can stay bound here, while the API server, which sets it
/// too (`--permit-port-sharing`) and runs as the same user, listens on it. A socket that doesn't
/// listen gets no connections: while the server is down they are refused.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    _socket: Socket,
    port: u16,
}

impl ReservedPort {
    /// Any free port.
    pub(crate) fn any() -> io::Result<Self> {
        Self::at(0)
    }

    /// The port `port`.
    pub(crate) fn at(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let address = socket.local_addr()?.as_socket();
        let port = address.ok_or_else(|| io::Error::other("the socket has no address"))?.port();
        Ok(Self { _socket: socket, port })
    }

    pub(crate) fn get(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn nobody_else_gets_it_and_connections_are_refused() {
        let reserved = ReservedPort::any().unwrap();
        let address = (Ipv4Addr::LOCALHOST, reserved.get());
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let taken = TcpListener::bind(address).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
