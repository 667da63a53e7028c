//! The text that somebody meant who mistyped it.

/// Texts longer than this are not compared: the work grows with the square of the length.
const LONGEST: usize = 320;

/// How many slips are taken for one: a letter more, less, another, or two changed over. Short texts have no room
/// for two: `ab` and `cd` are nothing alike.
fn slips_allowed(length: usize) -> usize {
    if length < 4 { 0 } else { 1 + usize::from(length >= 8) }
}

/// How few slips lead from one text to the other, case apart; none if they are more than what is taken for a slip.
pub fn slips(typed: &str, meant: &str) -> Option<usize> {
    let [typed, meant] = [typed, meant].map(|text| text.to_lowercase().chars().collect::<Vec<_>>());
    let allowed = slips_allowed(typed.len());
    if typed.len().abs_diff(meant.len()) > allowed || typed.len().max(meant.len()) > LONGEST {
        return None;
    }
    // The optimal string alignment distance, a row at a time.
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=meant.len()).collect();
    for (i, a) in typed.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in meant.iter().enumerate() {
            let at = |of: &[usize], at: usize| of.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(a != b)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && typed.get(i - 1) == Some(b) && meant.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().filter(|slips| *slips <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_or_two_is_seen_and_another_word_is_not() {
        for (typed, meant, seen) in [
            ("grace@exmaple.org", "grace@example.org", Some(1)),
            ("grace@example.og", "grace@example.org", Some(1)),
            ("Grace Hoper", "grace hopper", Some(1)),
            ("gracee@exmaple.org", "grace@example.org", Some(2)),
            ("linus@example.org", "grace@example.org", None),
            ("dmo", "demo", None),
            ("demp", "demo", Some(1)),
            ("", "demo", None),
        ] {
            assert_eq!(slips(typed, meant), seen, "{typed} for {meant}");
        }
        assert_eq!(slips(&"a".repeat(400), &"a".repeat(400)), None);
    }
}
