//! The table of samples below the reasons: causes, halts with their idle time, time in the guest.

use maud::{Markup, html};

use super::{
    Data, SHORT, at,
    curves::label,
    format::{count, time},
};
use crate::model::{Row, columns::column_of, kinds};

/// The table shows this many rows at most, those with the most time.
const MOST: usize = 100;

/// The section of the page; empty if the recording has no such samples.
pub(super) fn section(data: &Data) -> Markup {
    let mut rows: Vec<(&Row, u64)> = data.rows.samples().filter_map(|row| Some((row, row.cause?))).collect();
    if rows.is_empty() {
        return html! {};
    }
    rows.sort_by_key(|(row, _)| std::cmp::Reverse(row.stats.sum_ns));
    let left_out = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    html! {
        section {
            h2 { "Below the reasons" }
            p.lead {
                "The same time once more, by cause; do not add it to the rows above. "
                "Whole is the time of exits that halted with their idle time, guest the time between two exits. "
                @if left_out != 0 { (left_out) " rows with less time are left out." }
            }
            div.scroll tabindex="0" role="region" aria-label="Below the reasons" {
                table id="causes" {
                    thead { tr {
                        th scope="col" { "Row" } th scope="col" { "Kind" } th scope="col" { "Cause" }
                        th.n scope="col" { (column_of("samples").title) } th.n scope="col" { "per s" }
                        th.n scope="col" { (column_of("time_ns").title) }
                        @for id in SHORT { th.n scope="col" { (column_of(id).title) } }
                    } }
                    tbody {
                        @for (row, cause) in rows {
                            tr {
                                th scope="row" { span.name { (words(row)) } }
                                td { (kinds::id(cause).replace('_', " ")) }
                                td { (row.cause_label()) }
                                td.n { (count(row.stats.count)) }
                                td.n { (count(data.rate(row).round() as u64)) }
                                td.n { (time(row.stats.sum_ns)) }
                                @for id in SHORT { td.n { (at(&row.stats, id)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The label of a row. Time in the guest has no reason, so the label may be empty.
fn words(row: &Row) -> String {
    if row.labels().is_empty() { "-".to_owned() } else { label(row) }
}
