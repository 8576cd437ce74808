//! The little XML that STS answers with.

use zeroize::Zeroizing;

/// Room for an answer with credentials, so that the buffer with the secret does not grow and leave copies behind.
const BYTES_USUAL: usize = 32 * 1024;

/// A document that is written from its start to its end.
pub(super) struct Xml(Zeroizing<Vec<u8>>);

impl Xml {
    /// An empty document.
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(BYTES_USUAL)))
    }

    /// An element with what `inside` writes. Names are ours, so they are not escaped; attributes go with the name.
    pub(super) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.raw(&["<", name, ">"]);
        inside(self);
        let bare = name.split(' ').next().unwrap_or(name);
        self.raw(&["</", bare, ">\n"]);
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.escaped(text));
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.raw(&["&amp;"]),
                '<' => self.raw(&["&lt;"]),
                '>' => self.raw(&["&gt;"]),
                '"' => self.raw(&["&quot;"]),
                // What XML 1.0 has no way to write (2.2).
                '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                    self.raw(&["\u{fffd}"]);
                }
                '\r' => self.raw(&["&#13;"]),
                other => self.raw(&[other.encode_utf8(&mut [0; 4])]),
            }
        }
    }

    fn raw(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.0.extend_from_slice(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn text_is_escaped_and_elements_are_closed() {
        let mut xml = Xml::new();
        xml.element("A xmlns=\"n\"", |xml| xml.text("B", "<a href=\"x\">&\u{0}\r\n"));
        let text = String::from_utf8(xml.into_bytes().to_vec()).unwrap();
        assert_eq!(text, "<A xmlns=\"n\"><B>&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}&#13;\n</B>\n</A>\n");
    }
}
