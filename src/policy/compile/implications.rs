//! Rights that bring others: each with all that it brings in any number of steps.

use std::collections::HashSet;

use super::Builder;
use crate::diag::Report;
use crate::document::grants::{GrantsDocument, RightsShape};
use crate::policy::domain::RightId;

impl Builder {
    /// Takes in which rights bring which.
    pub(super) fn implications(&mut self, document: &GrantsDocument, report: &mut Report) {
        for (bringer, brought) in &document.implies {
            let Some(bringer) = self.granted_right(bringer, &bringer.value, report) else { continue };
            for right in brought {
                let Some(right) = self.granted_right(right, &right.value, report) else { continue };
                let index = usize::try_from(right.0).unwrap_or(usize::MAX);
                if self.domain.implied_by.len() <= index {
                    self.domain.implied_by.resize_with(index + 1, Box::default);
                }
                if let Some(bringers) = self.domain.implied_by.get_mut(index) {
                    *bringers = bringers.iter().copied().chain([bringer]).collect();
                }
            }
        }
    }

    /// Makes `implied_by` transitive. What brings a right brings all that a grant of it would cover, so bringers count for
    /// whatever lies below too. A right on a cycle brings the others of it, which is no fault.
    pub(super) fn close_implications(&mut self) {
        let direct = std::mem::take(&mut self.domain.implied_by);
        if direct.is_empty() {
            return;
        }
        let of = |right: RightId| {
            let covering = self.covering(right).into_iter();
            let bringers = covering.filter_map(|right| direct.get(usize::try_from(right.0).ok()?));
            bringers.flatten().copied().collect::<Vec<_>>()
        };
        let all = (0..self.domain.rights.len()).filter_map(|number| u32::try_from(number).ok()).map(RightId);
        let closed = all.map(|right| {
            let mut all: Vec<RightId> = Vec::new();
            let mut seen: HashSet<RightId> = HashSet::from([right]);
            let mut next = of(right);
            while let Some(bringer) = next.pop() {
                if seen.insert(bringer) {
                    all.push(bringer);
                    next.extend(of(bringer));
                }
            }
            all.into()
        });
        self.domain.implied_by = closed.collect();
    }

    /// The rights whose grants cover a right: itself and, in a tree, those above it.
    fn covering(&self, right: RightId) -> Vec<RightId> {
        let mut covering = vec![right];
        let mut name = self.domain.rights.name(right.0);
        while let (RightsShape::Tree, Some((above, _))) = (self.shape, name.rsplit_once('.')) {
            covering.extend(self.domain.rights.find(above).map(RightId));
            name = above;
        }
        covering
    }
}
