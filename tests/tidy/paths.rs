//! Which paths of its own crate a file mentions: `crate::...` and `super::...`, use trees expanded.

use crate::tree::ModulePath;

/// Every path from the root of the crate that `text`, the code of the module at `own`, mentions.
pub(crate) fn mentioned(text: &str, own: &[String]) -> Vec<ModulePath> {
    let mut found = Vec::new();
    for (at, _) in text
        .match_indices("crate::")
        .chain(text.match_indices("super::"))
    {
        // `super::super::` is met again one word further on; count the first only.
        if text[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &text[at..];
        let mut base = own.to_vec();
        if let Some(after) = rest.strip_prefix("crate::") {
            base.clear();
            rest = after;
        }
        while let Some(after) = rest.strip_prefix("super::") {
            base.pop();
            rest = after;
        }
        expand(rest, base, &mut found);
    }
    found
}

/// Adds the paths of the use tree at the start of `text`, behind `prefix`; returns what follows.
fn expand<'a>(text: &'a str, mut prefix: ModulePath, found: &mut Vec<ModulePath>) -> &'a str {
    let mut rest = text.trim_start();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = expand(inner, prefix.clone(), found).trim_start();
                match inner.strip_prefix(',') {
                    Some(after) => inner = after.trim_start(),
                    None => return inner.strip_prefix('}').unwrap_or(inner),
                }
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
            }
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if !word.is_empty() && word != "self" {
            prefix.push(word.to_owned());
        }
        match after.strip_prefix("::") {
            Some(after) => rest = after,
            None => {
                found.push(prefix);
                let renamed = after.trim_start().strip_prefix("as ");
                return renamed.map_or(after, |name| {
                    name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                });
            }
        }
    }
}

#[test]
fn use_trees_are_expanded() {
    let own = ["store".to_owned(), "s3".to_owned()];
    let check = |text: &str, expected: &[&str]| {
        let found: Vec<String> = mentioned(text, &own)
            .iter()
            .map(|path| path.join("::"))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("use crate::id::PackId;", &["id::PackId"]);
    check(
        "use crate::{\n    id::{self, PackId as Id, SessionId},\n    seal,\n};\nfn f() {}",
        &["id", "id::PackId", "id::SessionId", "seal"],
    );
    check(
        "use super::error::StoreError;",
        &["store::error::StoreError"],
    );
    check("use super::super::key::Key;", &["key::Key"]);
    check(
        "fn f(x: &crate::map::Leaf) -> std::io::Result<()> {}",
        &["map::Leaf"],
    );
    check("pub(crate) fn f() {}", &[]);
}
