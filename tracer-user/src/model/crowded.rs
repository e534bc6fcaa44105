//! A table of the kernel side that was too small: which VM fills it, and which VMs that hit.

/// The tables that VMs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A place for each vCPU thread.
    Vcpus,
    /// A place for each (vCPU, reason, cause).
    Slots,
}

impl Table {
    /// Name on the screen.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vcpus => "vCPU table",
            Self::Slots => "slot table",
        }
    }

    /// Name in machine-readable output.
    pub fn id(self) -> &'static str {
        match self {
            Self::Vcpus => "vcpus",
            Self::Slots => "slots",
        }
    }
}

/// A VM, and a number of places or samples of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of the VM.
    pub vm: String,
    /// Its process.
    pub pid: u32,
    /// Number of places or samples.
    pub count: u64,
}

impl Share {
    /// A share of `count` places or samples.
    pub fn new(vm: &str, pid: u32, count: u64) -> Self {
        Self { vm: vm.to_owned(), pid, count }
    }
}

/// A table that refused places within an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The table.
    pub table: Table,
    /// How many places it has, its reserve included.
    pub places: u64,
    /// The VM that holds most of them.
    pub holder: Share,
    /// The VMs that lacked one, with the samples or exits that they lost, the most first.
    pub hit: Vec<Share>,
}

impl Crowded {
    /// Adds a later report on the same table: takes its places and holder, and adds the VMs that were hit.
    pub fn merge(&mut self, later: &Self) {
        (self.places, self.holder) = (later.places, later.holder.clone());
        for share in &later.hit {
            add(&mut self.hit, share);
        }
    }
}

/// Adds to the share of a VM, in an order that has the largest first.
pub fn add(shares: &mut Vec<Share>, more: &Share) {
    match shares.iter_mut().find(|share| (share.pid, &share.vm) == (more.pid, &more.vm)) {
        Some(share) => share.count = share.count.saturating_add(more.count),
        None => shares.push(more.clone()),
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.count));
    // Anybody may start VMs: the list must not grow with them.
    shares.truncate(KEPT);
}

/// Limit on the VMs that are kept of those hit: those with most losses stay.
pub const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_losses_join_and_the_list_stays_short() {
        let crowded = |hit: Vec<Share>| Crowded {
            table: Table::Slots,
            places: 9,
            holder: Share::new("evil", 1, 8),
            hit,
        };
        let mut all = crowded(vec![Share::new("web", 2, 5)]);
        all.merge(&crowded(vec![Share::new("db", 3, 7), Share::new("web", 2, 1)]));
        assert_eq!(all.hit, [Share::new("db", 3, 7), Share::new("web", 2, 6)]);
        all.merge(&crowded((10..200).map(|pid| Share::new("x", pid, 1)).collect()));
        assert_eq!((all.hit.len(), all.hit[0].count), (KEPT, 7));
    }
}
