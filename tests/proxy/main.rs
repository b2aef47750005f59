//! The data plane on real sockets: what reaches the backend, what comes back, and what never gets that far. One binary
//! for all of it, since each one links the whole product.

#[path = "../support/backend.rs"]
mod backend;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/websocket.rs"]
mod websocket;
#[path = "../support/wire.rs"]
mod wire;

mod bodies;
mod connection_auth;
mod cors;
mod forward;
mod framing;
mod load;
mod metadata;
mod nginx;
mod operators;
mod places;
mod process;
mod refuse;
mod reload;
mod streams;
mod timeouts;
mod tls;
mod upgrade;
mod upstream;
