//! Rows as their readers see them.

use tracer_ebpf::subkey::{self, kind};

use super::Rows;
use crate::model::{Account, Place, Row, VmAccount, row::Totals};

/// Note on SEV-ES guests that were measured without their idle time.
pub const HIDDEN_HALTS: &str = "a halt of a SEV-ES or SNP guest is a vmgexit: its idle time is in that row and in Time%; \
    `exitlat record` and `live` tell it apart";

impl Rows {
    /// Notes to read before the rows, one sentence each.
    pub fn notes(&self) -> impl Iterator<Item = &'static str> {
        self.hidden_halts.then_some(HIDDEN_HALTS).into_iter()
    }

    /// Whether [`HIDDEN_HALTS`] applies.
    pub fn has_hidden_halts(&self) -> bool {
        self.hidden_halts
    }

    /// The rows of exits, or of their time by part, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.exit_indices().map(|at| self.at(at))
    }

    /// Indices for [`Rows::at`] of the rows of exits, or of their time by part. Unlike the rows themselves
    /// they can be kept in a list that is used again.
    pub fn exit_indices(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied().filter(|at| self.rows[*at].cause.is_none())
    }

    /// Indices of the causes below a row, see [`Rows::causes_of`].
    pub fn cause_indices(&self, row: &Row) -> impl Iterator<Item = usize> {
        let causes = if self.by.reason { row.causes.clone() } else { 0..0 };
        self.order[causes].iter().copied()
    }

    /// Indices of the rows of time in the guest.
    pub fn guest_indices(&self) -> impl Iterator<Item = usize> {
        let guest = |row: &Row| row.cause.is_some_and(|cause| subkey::kind_of(cause) == kind::GUEST);
        self.order.iter().copied().filter(move |at| guest(&self.rows[*at]))
    }

    /// The row of an index, which is good until the rows are replaced.
    pub fn at(&self, index: usize) -> &Row {
        &self.rows[index]
    }

    /// The place of an index among the rows in their order.
    pub fn rank_of(&self, index: usize) -> usize {
        self.rows[index].rank
    }

    /// The rows that have exits: no time twice.
    pub fn exits(&self) -> impl Iterator<Item = &Row> {
        self.iter().filter(|row| row.stats.count != 0)
    }

    /// Every row that has samples, in the order of exports: exits, causes and time in the guest. Time in the
    /// guest is of no reason, so there is none where reasons were chosen.
    pub fn samples(&self) -> impl Iterator<Item = &Row> {
        let of_reasons = self.selection.fields.is_some();
        let no_guest = move |row: &&Row| {
            !of_reasons || row.cause.is_none_or(|cause| subkey::kind_of(cause) != kind::GUEST)
        };
        self.all().filter(|row| row.stats.count != 0).filter(no_guest)
    }

    /// Every row, including those whose time is in another row too: causes follow their exits.
    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().map(|at| &self.rows[*at])
    }

    /// The causes below a row of these rows that is by reason.
    pub fn causes_of(&self, row: &Row) -> impl Iterator<Item = &Row> {
        self.cause_indices(row).map(|at| self.at(at))
    }

    /// Rows of time in the guest, from entry to exit, where it was measured; they are no exits.
    pub fn guests(&self) -> impl Iterator<Item = &Row> {
        self.guest_indices().map(|at| self.at(at))
    }

    /// Where the time of each VM went, by host, pid and name.
    pub fn vms(&self) -> impl Iterator<Item = &VmAccount> {
        self.vm_order.iter().map(|at| &self.vms[*at])
    }

    /// Where the time of each place went, if it was measured, in the order of their first sight.
    pub fn places(&self) -> impl Iterator<Item = (&Place, &Account)> {
        let accounts = self.places.iter().zip(&self.accounts);
        accounts.filter_map(|(place, account)| Some((&**place, account.as_ref()?)))
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The time that a row's samples are from: that of its host, where it has one.
    pub fn elapsed_of(&self, row: &Row) -> u64 {
        let host = self.elapsed.iter().find(|(host, _)| host.name() == row.host());
        host.filter(|_| row.host().is_some()).map_or(self.elapsed_ns, |(_, elapsed_ns)| *elapsed_ns)
    }

    /// Sums over all exits, however they are grouped.
    pub fn totals(&self) -> Totals {
        self.sums
    }

    /// The totals that the rows' shares refer to: [`Rows::totals`], but idle rows count as handled where
    /// samples include idle time.
    pub fn wholes(&self) -> Totals {
        let sums = self.sums;
        let idle_ns = if self.idle { sums.idle_ns } else { 0 };
        Totals { handled_ns: sums.handled_ns.saturating_add(idle_ns), with_idle: self.idle, ..sums }
    }
}
