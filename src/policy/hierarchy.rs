//! Trees as intervals: nodes are numbered in pre-order, so that "is this node at or below that one" is two integer
//! comparisons. Scopes and dotted rights are both such trees.

/// A node and everything below it, as the half-open range of their pre-order numbers. Of two intervals that contain
/// the same node, the one with the larger `first` is the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interval {
    /// The node's own number.
    pub first: u32,
    /// One past the last number below it.
    pub end: u32,
}

impl Interval {
    /// Whether `other`'s node is this node or below it.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.first < self.end
    }
}

/// Numbers the nodes of a forest. `parents[i]` is the index of node i's parent, or `None` at the top; the result has
/// the interval of each node. Nodes on a cycle are reached from no top: they get `None`.
pub fn number(parents: &[Option<usize>]) -> Vec<Option<Interval>> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut tops = Vec::new();
    for (node, parent) in parents.iter().enumerate() {
        match parent.and_then(|parent| children.get_mut(parent)) {
            Some(siblings) => siblings.push(node),
            None => tops.push(node),
        }
    }
    let mut intervals: Vec<Option<Interval>> = vec![None; parents.len()];
    let mut next = 0_u32;
    // A node is met twice: on the way down it gets its number, on the way up the end of its interval.
    let mut path: Vec<(usize, bool)> = tops.into_iter().rev().map(|node| (node, false)).collect();
    while let Some((node, done)) = path.pop() {
        let Some(interval) = intervals.get_mut(node) else { continue };
        if done {
            if let Some(interval) = interval {
                interval.end = next;
            }
            continue;
        }
        *interval = Some(Interval { first: next, end: next });
        next += 1;
        path.push((node, true));
        if let Some(below) = children.get(node) {
            path.extend(below.iter().rev().map(|child| (*child, false)));
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_contains_itself_and_its_descendants_and_nothing_else() {
        // 0 ─ 1 ─ 2, 0 ─ 3, and 4 on its own
        let found = number(&[None, Some(0), Some(1), Some(0), None]);
        let all: Vec<Interval> = found.into_iter().map(Option::unwrap).collect();
        let below = [vec![0, 1, 2, 3], vec![1, 2], vec![2], vec![3], vec![4]];
        for (node, expected) in below.iter().enumerate() {
            let contained: Vec<usize> = (0..5).filter(|other| all[node].contains(all[*other])).collect();
            assert_eq!(&contained, expected, "below node {node}");
        }
    }

    #[test]
    fn nodes_on_a_cycle_get_no_interval() {
        assert_eq!(number(&[Some(1), Some(0), None])[..2], [None, None]);
    }
}
