//! Which pages there are, what each is asked with, and which of them need the admin token.

use http::Method;

/// A page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    /// Anybody may ask for it.
    Open(Open),
    /// It needs the token.
    Guarded(Guarded),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Open {
    Livez,
    Readyz,
    Metrics,
    Version,
    Status,
    Keys,
    Description,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Guarded {
    Reload,
    History,
    Rollback,
    Revoked,
    Explain,
    Report,
    Shadow,
}

/// What is known of a page before anybody looks at a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) path: &'static str,
    /// As `Allow` has them.
    pub(super) methods: &'static str,
    pub(super) page: Page,
}

const READ: &str = "GET, HEAD";

/// All pages.
pub(super) const PAGES: [Entry; 14] = [
    open("/livez", Open::Livez),
    open("/readyz", Open::Readyz),
    open("/metrics", Open::Metrics),
    open("/version", Open::Version),
    open("/status", Open::Status),
    open("/.well-known/jwks.json", Open::Keys),
    open("/openapi.json", Open::Description),
    guarded("/reload", "POST", Guarded::Reload),
    guarded("/history", READ, Guarded::History),
    guarded("/rollback", "POST", Guarded::Rollback),
    guarded("/shadow", "GET, HEAD, POST, DELETE", Guarded::Shadow),
    guarded("/revoked", "GET, HEAD, POST, DELETE", Guarded::Revoked),
    guarded("/explain", READ, Guarded::Explain),
    guarded("/report", READ, Guarded::Report),
];

const fn open(path: &'static str, page: Open) -> Entry {
    Entry { path, methods: READ, page: Page::Open(page) }
}

const fn guarded(path: &'static str, methods: &'static str, page: Guarded) -> Entry {
    Entry { path, methods, page: Page::Guarded(page) }
}

impl Entry {
    /// The page of a path.
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        PAGES.iter().find(|entry| entry.path == path)
    }

    pub(super) fn answers(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|known| known == method.as_str())
    }
}
