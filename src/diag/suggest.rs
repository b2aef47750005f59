//! "Did you mean": the known name that is nearest to one that is not known.

/// Longer names are not compared: nobody mistypes one, and the time of a comparison grows with the square.
const LONGEST: usize = 64;

/// The candidate nearest to `name`, if one is near enough to be what was meant: the same but for case, or at most one
/// edit (insertion, deletion, replacement, exchange of neighbours) for every three characters. Of equally near ones
/// the first.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name)?;
    let allowed = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let within = best.map_or(allowed, |(distance, _)| distance.saturating_sub(1));
        let Some(offered) = folded(candidate) else { continue };
        if offered.len().abs_diff(wanted.len()) > within {
            continue;
        }
        let distance = distance(&wanted, &offered);
        if distance == 0 {
            return Some(candidate);
        }
        if distance <= within {
            best = Some((distance, candidate));
        }
    }
    // A name of one or two letters is near to every other one.
    best.filter(|(distance, _)| *distance < wanted.len()).map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> Option<Vec<char>> {
    let folded: Vec<char> = name.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    (!folded.is_empty() && folded.len() <= LONGEST).then_some(folded)
}

/// Optimal string alignment distance, with three rows of memory.
fn distance(left: &[char], right: &[char]) -> usize {
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        let mut previous_right = None;
        for (column, &b) in right.iter().enumerate() {
            let replaced = at(&last, column) + usize::from(a != b);
            let mut least = replaced.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            if previous_left == Some(b) && previous_right == Some(a) {
                least = least.min(at(&before_last, column.saturating_sub(1)) + 1);
            }
            current.push(least);
            previous_right = Some(b);
        }
        previous_left = Some(a);
        before_last = std::mem::replace(&mut last, current);
    }
    at(&last, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        let names = ["name", "hosts", "upstream", "gate", "forward_authorization", "domain"];
        let cases = [
            ("host", Some("hosts")),
            ("Hosts", Some("hosts")),
            ("upstraem", Some("upstream")),
            ("forward_authorisation", Some("forward_authorization")),
            ("forward-authorization", Some("forward_authorization")),
            ("gte", Some("gate")),
            ("colour", None),
            ("", None),
            ("x", None),
        ];
        for (written, meant) in cases {
            assert_eq!(suggest(written, names), meant, "{written}");
        }
    }

    #[test]
    fn the_nearest_wins_and_the_first_of_equals() {
        assert_eq!(suggest("reads", ["road", "read", "reed"]), Some("read"));
        assert_eq!(suggest("rxad", ["read", "road"]), Some("read"));
    }

    #[test]
    fn long_names_are_left_alone() {
        let long = "x".repeat(1_000_000);
        assert_eq!(suggest(&long, [long.as_str()]), None);
        assert_eq!(suggest("x", [long.as_str()]), None);
    }

    #[test]
    fn the_distance_counts_edits() {
        let count = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        for (a, b, edits) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("größe", "grosse", 3)]
        {
            assert_eq!(count(a, b), edits, "{a} {b}");
        }
    }
}
