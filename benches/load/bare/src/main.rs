//! A reverse proxy of the gateway's own libraries that checks nothing and writes no log: one thread, hyper towards clients,
//! hyper towards the backend, connections kept. What the gateway costs above it is what enforcement costs; what it costs
//! above nginx, the gateway cannot save while it is made of hyper.
//!
//!     bare PLAIN TLS BACKEND CERTIFICATE KEY      (three addresses, two PEM files)

#![forbid(unsafe_code)]

mod client;
mod server;

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [plain, tls, backend, certificate, key] = arguments.as_slice() else {
        return Err("usage: bare PLAIN TLS BACKEND CERTIFICATE KEY".into());
    };
    let (plain, tls): (SocketAddr, SocketAddr) = (plain.parse()?, tls.parse()?);
    let pool = Rc::new(client::Pool::to(backend.parse()?));
    let acceptor = server::acceptor(certificate, key)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async {
        tokio::try_join!(server::serve(plain, None, Rc::clone(&pool)), server::serve(tls, Some(acceptor), pool))?;
        Ok(())
    })
}
