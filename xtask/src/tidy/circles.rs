//! No circles: no file uses itself, directly or through other files.
//!
//! A module uses its own submodules, and `mod.rs` passes on what others define: neither counts.

use std::collections::{BTreeMap, VecDeque};

use super::tree::{Module, Tree};

/// Uses as (file, used file), with the first line of the use.
type Arrows = BTreeMap<Module, BTreeMap<Module, usize>>;

/// Complains of circles, and of entries of `known` that are in none.
///
/// An entry is an arrow that is not counted.
pub fn check(tree: &Tree, known: &[(&str, &str)]) -> Vec<String> {
    let mut arrows = arrows(tree);
    let file = |module: &Module| tree.files[module].path.display().to_string();
    let mut complaints = Vec::new();
    let mut drop = Vec::new();
    for (from, to) in known {
        let ends = arrows.iter().flat_map(|(start, ends)| ends.keys().map(move |end| (start, end)));
        let found = ends.into_iter().find(|(start, end)| file(start) == *from && file(end) == *to);
        match found.filter(|(start, end)| way(&arrows, end, start).is_some()) {
            Some((start, end)) => drop.push((start.clone(), end.clone())),
            None => {
                complaints.push(format!("{from} -> {to} is in no circle; take it off the list of known ones"))
            }
        }
    }
    for (from, to) in &drop {
        arrows.get_mut(from).and_then(|ends| ends.remove(to));
    }
    while let Some(circle) = shortest(&arrows) {
        let steps: Vec<_> = circle.iter().zip(circle.iter().cycle().skip(1)).collect();
        let told = |(from, to): &(&Module, &Module)| {
            format!("    {}:{} uses {}", file(from), arrows[*from][*to], file(to))
        };
        complaints.push(format!(
            "{} files use each other in a circle:\n{}",
            circle.len(),
            steps.iter().map(told).collect::<Vec<_>>().join("\n")
        ));
        // Without this use, the next circle found is another one.
        let used: Vec<_> = steps.iter().map(|(from, to)| ((*from).clone(), (*to).clone())).collect();
        for (from, to) in used {
            arrows.get_mut(&from).and_then(|ends| ends.remove(&to));
        }
    }
    complaints
}

fn arrows(tree: &Tree) -> Arrows {
    let mut arrows = Arrows::new();
    for (module, file) in &tree.files {
        let passes_on = tree.files.keys().any(|other| other != module && other.starts_with(module));
        for named in file.source.named.iter().filter(|named| !(passes_on && named.exported)) {
            let target = tree.absolute(module, named).and_then(|path| tree.resolve(&path));
            if let Some(target) = target.filter(|target| !target.starts_with(module)) {
                let lines = arrows.entry(module.clone()).or_default();
                lines.entry(target.clone()).or_insert(named.line);
            }
        }
    }
    arrows
}

/// The shortest way along the arrows, both ends included.
fn way(arrows: &Arrows, from: &Module, to: &Module) -> Option<Vec<Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at.clone()];
            let mut step = at;
            while let Some(before) = came_from.get(step).filter(|_| step != from) {
                way.push((*before).clone());
                step = before;
            }
            way.reverse();
            return Some(way);
        }
        for next in arrows.get(at).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The files of the shortest circle.
fn shortest(arrows: &Arrows) -> Option<Vec<Module>> {
    let all = arrows.iter().flat_map(|(from, ends)| ends.keys().map(move |to| (from, to)));
    // From the arrow's end back to its start; the arrow closes the circle.
    all.filter_map(|(from, to)| way(arrows, to, from)).min_by_key(Vec::len)
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample;
    use super::*;

    #[test]
    fn two_files_that_use_each_other_are_named_with_their_lines() {
        let tree = sample(&[
            ("a.rs", "\nuse crate::b::B; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { crate::a::A; }"),
        ]);
        let told = check(&tree, &[]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("a.rs:2 uses b.rs") && told[0].contains("b.rs:1 uses a.rs"), "{told:?}");
    }

    #[test]
    fn a_way_round_through_a_re_export_is_found() {
        let tree = sample(&[
            ("model/mod.rs", "mod rows; mod by; pub use rows::Rows;"),
            ("model/rows.rs", "use super::by::By; pub struct Rows;"),
            ("model/by.rs", "use crate::other::O; pub struct By;"),
            ("other.rs", "use crate::model::Rows; pub struct O;"),
        ]);
        let told = check(&tree, &[]);
        assert!(told.len() == 1 && told[0].starts_with("3 files"), "{told:?}");
    }

    #[test]
    fn parents_may_use_their_children_and_pass_them_on() {
        let tree = sample(&[
            ("model/mod.rs", "mod rows; pub use rows::Rows; use rows::helper; pub struct Own;"),
            ("model/rows.rs", "use super::Own; pub struct Rows; pub fn helper() {}"),
            ("cli.rs", "pub mod span; use span::Span; pub struct When;"),
            ("cli/span.rs", "use crate::cli::When; pub struct Span;"),
        ]);
        assert_eq!(check(&tree, &[]), Vec::<String>::new());
    }

    #[test]
    fn known_circles_are_let_pass_until_they_are_gone() {
        let files = [("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use crate::a::A; pub struct B;")];
        assert!(check(&sample(&files), &[("b.rs", "a.rs")]).is_empty());
        let mended = [files[0], ("b.rs", "pub struct B;")];
        let told = check(&sample(&mended), &[("b.rs", "a.rs"), ("a.rs", "b.rs")]);
        assert!(told.len() == 2 && told.iter().all(|line| line.contains("is in no circle")), "{told:?}");
    }
}
