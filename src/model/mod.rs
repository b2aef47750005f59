//! Vocabulary: the words of the product as plain data. Nothing here decides, reads or writes anything.

pub mod client_certificate;
pub mod dialect;
pub mod distinguished_name;
pub mod guid;
pub mod principal;
pub mod reason;
pub mod right;
pub mod shadow;
pub mod tenant;

pub use client_certificate::ClientCertificate;
pub use dialect::Dialect;
pub use guid::Guid;
pub use principal::{PrincipalKey, Status};
pub use reason::Reason;
pub use right::{Effect, Level};
pub use shadow::{InShadow, Mode};
pub use tenant::{Naming, Tenant, is_subject};
