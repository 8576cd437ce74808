//! Text as one word of a POSIX shell.

use std::borrow::Cow;

/// The text itself if a shell leaves it alone, else the text in single quotes.
pub(super) fn quote(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::quote;

    /// What a shell makes of the word.
    fn read_by_a_shell(word: &str) -> String {
        let output = Command::new("sh").args(["-c", &format!("printf %s {word}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn plain_words_are_left_as_they_are() {
        for text in ["a", "/tmp/x-1_2.pem", "http://localhost:8443", "A+/=", "50%"] {
            assert_eq!(quote(text), text);
        }
        assert_eq!((quote(""), quote("it's"), quote("~")), ("''".into(), r"'it'\''s'".into(), "'~'".into()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\0]{0,40}") {
            prop_assert_eq!(read_by_a_shell(&quote(&text)), text);
        }
    }
}
