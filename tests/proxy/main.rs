//! The data plane on real sockets: what reaches the backend, what comes back, and what never gets that far. One binary
//! for all of it, since each one links the whole product.

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/backend.rs"]
mod backend;
#[path = "../support/frames.rs"]
mod frames;
#[path = "../support/gateway.rs"]
mod gateway;
#[path = "../support/h2.rs"]
mod h2;
#[path = "../support/recorder.rs"]
mod recorder;
#[path = "../support/websocket.rs"]
mod websocket;
#[path = "../support/wire.rs"]
mod wire;

mod answers;
mod asked;
mod audit;
mod balance;
mod bodies;
mod bounds;
mod chunks;
mod connection_auth;
mod cors;
mod destination;
mod expect;
mod faults;
mod floods;
mod forms;
mod forward;
mod framing;
mod grpc;
mod h2_frames;
mod health;
mod limits;
mod listeners;
mod load;
mod metadata;
mod mtls;
mod nginx;
mod observability;
mod openapi;
mod operators;
mod operators_tls;
mod peers;
mod places;
mod process;
mod questions;
mod queue;
mod refuse;
mod reload;
mod retries;
mod shares;
mod streams;
mod systemd;
mod targets;
mod timeouts;
mod tls;
mod traces;
mod trailers;
mod transport;
mod upgrade;
mod upstream;
