//! How much memory a process takes.

/// Resident, as the kernel counts it; nothing if it cannot be known.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    // Size and resident set, in pages (proc(5)). It is no file of a disk.
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(u64::try_from(rustix::param::page_size()).ok()?))
}
