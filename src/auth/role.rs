//! From directory groups to roles.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::auth::Role;

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Agent, Self::Supervisor, Self::Compliance, Self::Approver, Self::Auditor, Self::Operator];

    /// The word in configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
            Self::Compliance => "compliance",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Which groups bear which role. A group may bear several, and a role come from several groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleMap {
    roles: BTreeMap<String, BTreeSet<Role>>,
}

impl RoleMap {
    /// A map from pairs of a group's distinguished name and a role.
    pub fn new<Dn: AsRef<str>>(groups: impl IntoIterator<Item = (Dn, Role)>) -> Self {
        let mut map = Self::default();
        for (group, role) in groups {
            map.roles.entry(folded(group.as_ref())).or_default().insert(role);
        }
        map
    }

    /// The roles of somebody who is in these groups. Unknown groups bear none.
    pub fn roles_of<Dn: AsRef<str>>(&self, groups: impl IntoIterator<Item = Dn>) -> BTreeSet<Role> {
        groups.into_iter().filter_map(|group| self.roles.get(&folded(group.as_ref()))).flatten().copied().collect()
    }
}

/// A distinguished name without regard to case and to blanks around `,` and `=` (RFC 4514 2.4 writes none, people do).
///
/// Escaped commas stay as they are: both sides come from the same directory, so they are escaped alike.
fn folded(dn: &str) -> String {
    let part = |part: &str| part.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    dn.split(',').map(part).collect::<Vec<_>>().join(",").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_become_roles_whatever_their_spelling() {
        let map = RoleMap::new([
            ("cn=Agents, ou=groups, dc=tandem, dc=test", Role::Agent),
            ("cn=compliance,ou=groups,dc=tandem,dc=test", Role::Compliance),
        ]);
        let roles = map.roles_of(["CN=agents,OU=Groups,DC=tandem,DC=test", "cn=others,dc=test"]);
        assert_eq!(roles, BTreeSet::from([Role::Agent]));
    }

    #[test]
    fn one_group_may_bear_two_roles() {
        let map = RoleMap::new([("cn=a", Role::Agent), ("cn=a", Role::Supervisor)]);
        assert_eq!(map.roles_of(["cn=a"]).len(), 2);
        assert!(map.roles_of(["cn=a,cn=b"]).is_empty());
    }

    #[test]
    fn every_role_has_one_word() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }
}
