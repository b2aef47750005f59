//! Which route a request takes and what that route asks, pure.
use std::sync::Arc;
/// Applications, routes and upstreams, compiled.
#[derive(Debug, Default)]
pub struct RouteMap {}
/// What is protected: the parts of an application that the data plane needs.
#[derive(Debug)]
pub struct Application { /// Its name.
 pub name: Arc<str>, /// Where permitted requests go.
 pub upstream: Arc<Upstream>, /// Whether `Authorization` goes on.
 pub forward_authorization: bool, /// Header names (lower case) with `_` or `.` that go on.
 pub allow_headers: Vec<Box<str>>, /// Whether clients see the subject of a reason.
 pub full_detail: bool }
/// A backend.
#[derive(Debug, PartialEq)]
pub struct Upstream { /// Its name.
 pub name: Arc<str>, /// Its servers, at least one.
 pub servers: Vec<Server>, /// PEM certificate authorities for https in place of the public ones.
 pub ca: Option<Arc<[u8]>> }
/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server { /// `http://host:port` as logs and metrics name it.
 pub name: Arc<str>, /// Whether TLS is spoken.
 pub tls: bool, /// Host name or address (no brackets).
 pub host: Arc<str>, /// Port.
 pub port: u16 }
