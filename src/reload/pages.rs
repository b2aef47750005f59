//! Pages of memory. The allocator asks for pages of 2 MiB. Those of a policy fill them, are found with fewer looks at the
//! page tables and given back at once, where a million small ones would keep the system busy for tens of milliseconds,
//! and requests waiting. Of connections, one written byte would take a whole one: twice the memory in a flood.

use std::sync::OnceLock;

/// Whether the process was started with large pages switched off; then they stay so.
static REFUSED: OnceLock<bool> = OnceLock::new();

/// Large pages, until it is dropped. One reading at a time has them: the first at the start, then those of the reloads.
#[derive(Debug)]
pub struct LargePages(());

impl LargePages {
    /// From now on, what any thread of the process writes to first may come in large pages.
    pub fn begin() -> Self {
        let refused = REFUSED.get_or_init(|| rustix::thread::transparent_huge_pages_are_disabled().unwrap_or(true));
        if !refused {
            disable(false);
        }
        Self(())
    }
}

impl Drop for LargePages {
    fn drop(&mut self) {
        disable(true);
    }
}

/// A system that has no large pages has none to refuse. Where it does not take the call, all pages are as it likes.
fn disable(disabled: bool) {
    let _ = rustix::thread::disable_transparent_huge_pages(disabled);
}
