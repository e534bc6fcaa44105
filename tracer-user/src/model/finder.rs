//! Finds keys again that come in the same order each time, as the cells of intervals do.

use std::{collections::HashMap, hash::Hash};

/// Places of keys. Asks the order of the last pass before the hash, so that a pass in the same order hashes
/// nothing.
#[derive(Clone, Debug)]
pub(super) struct Finder<K> {
    index: HashMap<K, usize>,
    /// The keys found in the last pass, and where.
    order: Vec<(K, usize)>,
    at: usize,
}

impl<K> Default for Finder<K> {
    fn default() -> Self {
        Self { index: HashMap::new(), order: Vec::new(), at: 0 }
    }
}

impl<K: Eq + Hash + Clone> Finder<K> {
    /// A new pass begins.
    pub(super) fn begin(&mut self) {
        self.at = 0;
    }

    /// The place of a key; a new key gets the place that `make` returns.
    pub(super) fn find(&mut self, key: &K, make: impl FnOnce() -> usize) -> usize {
        let at = self.at;
        self.at += 1;
        match self.order.get(at) {
            Some((known, place)) if known == key => return *place,
            _ => {}
        }
        let place = match self.index.get(key) {
            Some(place) => *place,
            None => {
                let place = make();
                self.index.insert(key.clone(), place);
                place
            }
        };
        match self.order.get_mut(at) {
            Some(slot) => *slot = (key.clone(), place),
            None => self.order.push((key.clone(), place)),
        }
        place
    }

    /// Forgets a key and where it was.
    pub(super) fn forget(&mut self, key: &K) {
        self.index.remove(key);
    }

    /// Forgets the order of the last pass, whose places may have changed: call it after [`Finder::forget`].
    pub(super) fn forget_order(&mut self) {
        self.order.clear();
        self.at = 0;
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.forget_order();
    }
}
