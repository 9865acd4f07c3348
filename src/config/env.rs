//! Environment variables that overrule the file: `TANDEM__SECTION__KEY=value`.

use toml::Table;
use toml::Value;

use crate::config::error::ConfigError;

/// What their names begin with.
const PREFIX: &str = "TANDEM__";

/// One variable: where in the configuration, and what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Override {
    variable: String,
    path: Vec<String>,
    value: Value,
}

/// The overrides among `variables`. A value that is no TOML (an address, a word) is taken as text.
pub(super) fn overrides(variables: impl Iterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<Override> = variables
        .filter_map(|(variable, text)| {
            let path = variable.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
            let value = format!("v = {text}")
                .parse::<Table>()
                .ok()
                .filter(|table| table.len() == 1)
                .and_then(|mut table| table.remove("v"))
                .unwrap_or(Value::String(text));
            Some(Override { variable, path, value })
        })
        .collect();
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    found
}

/// Puts each override in its place. A list of tables (`trunk`) cannot be reached.
pub(super) fn apply(overrides: Vec<Override>, table: &mut Table) -> Result<(), ConfigError> {
    overrides.into_iter().try_for_each(|wanted| place(wanted, table))
}

fn place(wanted: Override, table: &mut Table) -> Result<(), ConfigError> {
    let Override { variable, mut path, value } = wanted;
    let key = path.pop().filter(|key| !key.is_empty());
    let Some(key) = key else {
        return Err(ConfigError::Environment { variable, message: "expected TANDEM__SECTION__KEY".to_owned() });
    };
    let mut section = table;
    for name in path {
        let entry = section.entry(name).or_insert_with(|| Value::Table(Table::new()));
        match entry.as_table_mut() {
            Some(inner) => section = inner,
            None => return Err(ConfigError::Environment { variable, message: "there is no such section".to_owned() }),
        }
    }
    section.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> impl Iterator<Item = (String, String)> {
        std::iter::once((name.to_owned(), value.to_owned()))
    }

    #[test]
    fn a_variable_overrules_the_file() {
        let mut table: Table = "[sip]\nudp = \"127.0.0.1:5060\"".parse().unwrap();
        apply(overrides(variable("TANDEM__SIP__UDP", "127.0.0.1:5080")), &mut table).unwrap();
        assert_eq!(table["sip"]["udp"].as_str(), Some("127.0.0.1:5080"));
    }

    #[test]
    fn numbers_and_lists_keep_their_kind() {
        let found = overrides(variable("TANDEM__AGENTS__CALLS_MAX", "3"));
        assert_eq!(found[0].value, Value::Integer(3));
        let found = overrides(variable("TANDEM__HTTP__ORIGINS", "[\"https://a\"]"));
        assert!(found[0].value.is_array());
    }

    #[test]
    fn other_variables_are_left_alone() {
        assert!(overrides(variable("PATH", "/usr/bin")).is_empty());
    }

    #[test]
    fn a_value_cannot_smuggle_a_second_key() {
        let found = overrides(variable("TANDEM__NODE__NAME", "1\nother = 2"));
        assert_eq!(found[0].value, Value::String("1\nother = 2".to_owned()));
    }
}
