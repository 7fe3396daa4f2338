//! Text from elsewhere, made safe to show on a terminal.

use std::borrow::Cow;

/// A number of things: `1 point`, `2 points`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Escapes what would move the cursor, hide or reorder text: names in a repository may come from anybody who can write
/// to it.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        Cow::Owned(
            text.chars()
                .fold(String::with_capacity(text.len()), |mut safe, c| {
                    if is_unsafe(c) {
                        safe.extend(c.escape_default());
                    } else {
                        safe.push(c);
                    }
                    safe
                }),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// Control characters, line and paragraph separators, marks that change the direction of writing, and characters that
/// are not seen at all (Unicode's `Default_Ignorable_Code_Point`, but for the variation selectors that emoji need).
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_no_plural() {
        let counts = [0, 1, 2].map(|number| count(number, "point"));
        assert_eq!(counts, ["0 points", "1 point", "2 points"]);
    }

    #[test]
    fn only_what_is_unsafe_is_escaped() {
        assert_eq!(clean("web-1:/srv/größe 図.img"), "web-1:/srv/größe 図.img");
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        for hidden in [
            '\u{200b}',
            '\u{200d}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{e0041}',
        ] {
            let escaped = format!("db{}", hidden.escape_default());
            assert_eq!(clean(&format!("db{hidden}")), escaped);
        }
    }
}
