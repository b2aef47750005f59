//! The data plane on real sockets: what reaches the backend, what comes back, and what never gets that far. One binary
//! for all of it, since each one links the whole product.

#[path = "../support/backend.rs"]
mod backend;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/wire.rs"]
mod wire;

mod balance;
mod bodies;
mod cors;
mod faults;
mod forward;
mod framing;
mod health;
mod load;
mod metadata;
mod nginx;
mod operators;
mod places;
mod process;
mod queue;
mod refuse;
mod reload;
mod retries;
mod timeouts;
mod tls;
mod upstream;
