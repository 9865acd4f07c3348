//! Ring groups: which of an extension's members ring, and in what order.

use std::time::Duration;

use crate::ids::Extension;

/// In what order the members of a group ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// All at once; who accepts first has the call.
    #[default]
    Parallel,
    /// One after the other, in the order of the list.
    Sequential,
    /// One after the other, who has been without a call for longest first.
    LongestIdle,
}

/// An extension that rings others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What callers dial.
    pub extension: Extension,
    /// Who rings.
    pub members: Vec<Extension>,
    /// In what order.
    pub strategy: Strategy,
    /// How long each of them rings; all together, where they ring at once.
    pub ring_time: Duration,
}

impl Group {
    /// The members in the order in which they ring. `idle` says for how long one has been without a call; one who had
    /// none since the gateway began is the idlest (`None`).
    pub fn order(&self, idle: impl Fn(&Extension) -> Option<Duration>) -> Vec<Extension> {
        let mut members = self.members.clone();
        if self.strategy == Strategy::LongestIdle {
            // Stable: where nobody had a call yet, the order of the list stands.
            members.sort_by_key(|member| std::cmp::Reverse(idle(member).unwrap_or(Duration::MAX)));
        }
        members
    }

    /// Whether the members ring one after the other.
    pub fn is_one_by_one(&self) -> bool {
        self.strategy != Strategy::Parallel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(strategy: Strategy) -> Group {
        let members = ["1001", "1002", "1003"].map(Extension::new).to_vec();
        Group { extension: Extension::new("1900"), members, strategy, ring_time: Duration::from_secs(15) }
    }

    fn names(members: &[Extension]) -> Vec<&str> {
        members.iter().map(Extension::as_str).collect()
    }

    #[test]
    fn who_has_been_idle_for_longest_rings_first_and_the_list_breaks_ties() {
        let idle = |member: &Extension| match member.as_str() {
            "1001" => Some(Duration::from_secs(5)),
            "1002" => Some(Duration::from_secs(50)),
            _ => None,
        };
        assert_eq!(names(&group(Strategy::LongestIdle).order(idle)), ["1003", "1002", "1001"]);
        assert_eq!(names(&group(Strategy::LongestIdle).order(|_| None)), ["1001", "1002", "1003"]);
    }

    #[test]
    fn the_other_strategies_keep_the_list() {
        for strategy in [Strategy::Parallel, Strategy::Sequential] {
            assert_eq!(names(&group(strategy).order(|_| Some(Duration::ZERO))), ["1001", "1002", "1003"]);
        }
        assert!(!group(Strategy::Parallel).is_one_by_one());
        assert!(group(Strategy::Sequential).is_one_by_one());
    }
}
