//! A reserved port.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

/// A free port on 127.0.0.1, reserved until this is dropped.
///
/// Requesting a free port, closing it and passing on its number leaves a gap in which another process can bind it, all the
/// more while a component is down. So the socket stays open: bound, which keeps other processes from the port, but not
/// listening, which leaves the connections to the API server, which binds the same port with `SO_REUSEPORT`.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    _socket: Socket,
    number: u16,
}

impl ReservedPort {
    pub(crate) fn new() -> Result<Self> {
        Self::reserve().context("failed to reserve a port on 127.0.0.1")
    }

    fn reserve() -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
        let address = socket.local_addr()?.as_socket().context("the socket has no address")?;
        Ok(Self { _socket: socket, number: address.port() })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
