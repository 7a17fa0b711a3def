//! Free ports on 127.0.0.1, each taken by one testbed of this machine at a time.
//!
//! A port must stay ours while its program is restarted, so it is not one that the kernel gives to outgoing connections
//! (from 32768 on), and it is claimed among testbeds by a socket in the abstract namespace, which the kernel frees with the
//! process that holds it.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::{Error, Result};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    pub(crate) fn claim() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin at different places, so that they seldom meet.
        let begin = std::process::id().wrapping_mul(97) % u32::from(COUNT);
        for _ in 0..COUNT {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = (begin + step) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset).unwrap_or_default();
            let claim = SocketAddr::from_abstract_name(format!("berth-testbed-port-{number}"))
                .and_then(|name| UnixListener::bind_addr(&name));
            let Ok(claim) = claim else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(Error::Unable(format!("no free port from {FIRST} to {} on 127.0.0.1", FIRST + COUNT - 1)))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_and_it_stays_ours_while_nobody_listens() {
        let ports: Vec<Port> = (0..200).map(|_| Port::claim().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }
}
